"""Calibration rows: as many as asked, the same ones each time, spread over labels and clusters."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstedge.errors import DataError, UsageError
from mstedge.export.quantise.calibration import CalibrationWish, calibration_rows
from mstedge.export.student import Rows
from mstedge.runtime.parity.rows import digests_of_rows


def made_rows(clusters: list[str], labels: list[int]) -> Rows:
    count = len(clusters)
    return Rows(
        ids=tuple(f"row-{number}" for number in range(count)),
        clusters=tuple(clusters),
        labels=np.array(labels, dtype=np.int64),
        features=np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3),
    )


def single_rows(count: int, classes: int = 10) -> Rows:
    return made_rows([f"cluster-{row}" for row in range(count)], [row % classes for row in range(count)])


def shuffled(rows: Rows, seed: int) -> Rows:
    order = np.random.default_rng(seed).permutation(len(rows))
    return Rows(
        ids=tuple(rows.ids[row] for row in order),
        clusters=tuple(rows.clusters[row] for row in order),
        labels=rows.labels[order],
        features=rows.features[order],
    )


def test_the_record_names_the_rows_that_were_given() -> None:
    rows = single_rows(50)
    features, record = calibration_rows(rows, CalibrationWish(rows=20, method="entropy"))
    assert features.shape == (20, 2, 3)
    assert features.dtype == np.float32
    assert record.method == "entropy"
    assert len(set(record.ids)) == 20
    for name, values in zip(record.ids, features, strict=True):
        np.testing.assert_array_equal(values, rows.features[rows.ids.index(name)])
    assert record.features_sha256 == digests_of_rows(features)


@pytest.mark.parametrize("asked", [300, 51])
def test_fewer_rows_than_asked_is_an_error_with_both_numbers(asked: int) -> None:
    with pytest.raises(DataError, match=rf"asks for {asked} rows: the training part has 50") as problem:
        calibration_rows(single_rows(50), CalibrationWish(rows=asked))
    assert "--calibration-rows" in str(problem.value.hint)


def test_all_rows_may_be_asked_for() -> None:
    _, record = calibration_rows(single_rows(50), CalibrationWish(rows=50))
    assert len(set(record.ids)) == 50


def test_labels_take_turns() -> None:
    rows = made_rows([str(row) for row in range(200)], [0] * 150 + [1] * 40 + [2] * 10)
    _, record = calibration_rows(rows, CalibrationWish(rows=30))
    assert Counter(int(rows.labels[rows.ids.index(name)]) for name in record.ids) == {0: 10, 1: 10, 2: 10}


@given(
    data=st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 3)), min_size=1, max_size=40),
    share=st.floats(0.01, 1.0),
    seed=st.integers(0, 3),
)
def test_the_draw_follows_names_and_no_cluster_comes_twice_before_all_came_once(
    data: list[tuple[int, int]], share: float, seed: int
) -> None:
    rows = made_rows([f"c{cluster}" for cluster, _ in data], [label for _, label in data])
    asked = max(1, int(share * len(rows)))
    _, record = calibration_rows(rows, CalibrationWish(rows=asked))
    assert calibration_rows(shuffled(rows, seed), CalibrationWish(rows=asked))[1] == record
    have = Counter(rows.clusters)
    taken = Counter(rows.clusters[rows.ids.index(name)] for name in record.ids)
    most = max(taken.values())
    assert all(taken[cluster] >= min(have[cluster], most - 1) for cluster in have)


def test_dense_labels_count_as_one_kind() -> None:
    rows = single_rows(12)
    dense = Rows(rows.ids, rows.clusters, np.zeros((12, 4, 4), dtype=np.int64), rows.features)
    assert len(calibration_rows(dense, CalibrationWish(rows=12))[1].ids) == 12


def test_a_wish_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="asks for 0 rows"):
        CalibrationWish(rows=0)
    with pytest.raises(UsageError, match="no calibration method 'minmaxx'") as problem:
        CalibrationWish(method="minmaxx")  # type: ignore[arg-type]
    assert "did you mean 'minmax'?" in str(problem.value.hint)
