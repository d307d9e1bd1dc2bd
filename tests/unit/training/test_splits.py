"""Drawn splits: groups stay whole, classes are everywhere, too little data is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import DataError
from mstedge.training.data.splits import TEST, TRAIN, VALIDATION, drawn_split


def split(labels: list[int], groups: list[str], seed: int = 0) -> np.ndarray:
    names = [f"class {label}" for label in range(max(labels) + 1)]
    return drawn_split(np.array(labels, dtype=np.int64), groups, class_names=names, seed=seed)


def speakers(count: int, classes: int = 3, takes: int = 4) -> tuple[list[int], list[str]]:
    rows = [(label, f"speaker {each}") for each in range(count) for label in range(classes) for _ in range(takes)]
    return [label for label, _ in rows], [group for _, group in rows]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(3, 12), classes=st.integers(2, 4), seed=st.integers(0, 2**31))
def test_groups_are_whole_and_classes_everywhere(count: int, classes: int, seed: int) -> None:
    labels, groups = speakers(count, classes)
    parts = split(labels, groups, seed)
    assert all(len(set(parts[np.array(groups) == group].tolist())) == 1 for group in set(groups))
    for part in (TRAIN, VALIDATION, TEST):
        assert set(np.array(labels)[parts == part].tolist()) == set(range(classes))


@pytest.mark.parametrize("count", [3, 4])
def test_few_groups_leave_one_out_for_each_part(count: int) -> None:
    labels, groups = speakers(count)
    parts = split(labels, groups)
    in_part = {part: len(set(np.array(groups)[parts == part].tolist())) for part in (TRAIN, VALIDATION, TEST)}
    assert in_part == {TRAIN: count - 2, VALIDATION: 1, TEST: 1}


@pytest.mark.parametrize("grouped", [False, True])
def test_shares_are_60_20_20(*, grouped: bool) -> None:
    labels = [row % 4 for row in range(2000)]
    groups = [f"{row // 8 if grouped else row}" for row in range(2000)]
    parts = split(labels, groups)
    assert np.bincount(parts) / 2000 == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    for label in range(4):
        assert np.mean(parts[np.array(labels) == label] == TEST) == pytest.approx(0.2, abs=0.02)


def test_seed_decides() -> None:
    labels, groups = [row % 2 for row in range(100)], [str(row) for row in range(100)]
    assert (split(labels, groups, 1) == split(labels, groups, 1)).all()
    assert (split(labels, groups, 1) != split(labels, groups, 2)).any()


def test_rare_class_is_in_each_part() -> None:
    labels = [0] * 60 + [1] * 3
    parts = split(labels, [str(row) for row in range(63)])
    assert sorted(parts[60:].tolist()) == [TRAIN, VALIDATION, TEST]


def test_too_few_groups() -> None:
    with pytest.raises(DataError, match=r"there are 2 groups with labels: .* at least 3") as problem:
        split(*speakers(2))
    assert "column `split`" in (problem.value.hint or "")


def test_too_few_groups_of_a_class() -> None:
    with pytest.raises(DataError, match="the class 'class 1' is in 2 of 12 groups"):
        split([0] * 10 + [1, 1], [str(row) for row in range(12)])


def test_impossible_split_is_said() -> None:
    # Four speakers; each class misses a different one, so no test speaker has all of them.
    rows = [(label, speaker) for label in range(4) for speaker in range(4) if label != speaker]
    with pytest.raises(DataError, match="no split of 4 groups was found"):
        split([label for label, _ in rows], [str(speaker) for _, speaker in rows])
