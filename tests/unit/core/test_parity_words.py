"""What a gate's run means in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_inputs import parity_report, task_result

from mstedge.manifest import ParitySummary
from mstedge.parity_words import advice, alarm, basis, outcome, pending, task_advice, task_outcome
from mstedge.verdicts import at_least, at_most, equals

VALUES = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


def limit_in(words: str) -> float:
    return float(words.removeprefix("a limit of ").removesuffix(" would have passed"))


@given(value=VALUES, limit=VALUES)
def test_the_limit_that_is_named_would_have_passed(value: float, limit: float):
    for build in (at_most, at_least):
        words = advice(build("L1", "x", value, limit))
        if not words:
            assert build("L1", "x", value, limit).passed
        else:
            assert build("L1", "x", value, limit_in(words)).passed


@given(value=st.floats(min_value=1e-9, max_value=1e6))
def test_the_limit_that_is_named_is_near(value: float):
    assert limit_in(advice(at_most("L1", "x", value, 0.0))) == pytest.approx(value, rel=0.01)


def test_what_no_limit_could_pass_says_so():
    assert advice(at_most("L0", "x", float("nan"), 1.0)) == "no limit would have passed: not a finite number"
    assert advice(equals("L0", "x", 3, 0)) == "must be exactly 0"
    assert advice(equals("L0", "x", 0, 0)) == ""


def test_outcomes():
    assert outcome(at_most("L1", "x", 0, 1)) == "ok"
    assert outcome(at_most("L1", "x", 2, 1)) == "FAILED"
    assert outcome(at_most("L1", "x", 2, 1, severity="warn")) == "warning"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ("480 labelled", "24 independent clusters", "at most 1.00 points (default of int8)", "a BCa bootstrap")),
        ({"method": "tango", "clusters": 480}, ("480 labelled held-out rows;", "Tango's score interval")),
        ({"stands_in": True}, ("the limits of level 2 stand in",)),
        ({"low": None, "high": None}, ("the clusters are too few for a bound",)),
        ({"margin": 0.005, "margin_origin": "--margin"}, ("at most 0.50 points (--margin)",)),
        ({"metric": "mIoU"}, ("mIoU may fall",)),
    ],
)
def test_basis_names_rows_clusters_margin_and_method(changes: dict[str, object], words: tuple[str, ...]):
    said = basis(512, task_result(**changes))
    assert all(each in said for each in words)


def test_basis_without_labels_says_what_was_not_measured():
    assert "512 held-out rows without labels" in basis(512, None)


@pytest.mark.parametrize(
    ("verdict", "reasons", "low", "expected"),
    [
        ("pass", (), -0.0099, "ok"),
        ("inconclusive", ("L3: accuracy may be worse",), -0.01, "cannot tell"),
        ("inconclusive", ("L3: no bound",), None, "cannot tell"),
        ("fail", ("L3: accuracy is 6 points worse",), -0.09, "FAILED"),
        ("fail", ("L3: recall of class 3 is worse",), -0.001, "FAILED"),
        ("fail", ("L1: largest |dp| is 1",), -0.001, "ok"),
        ("fail", ("L1: largest |dp| is 1",), -0.09, "cannot tell"),
    ],
)
def test_outcome_of_level_3(verdict: str, reasons: tuple[str, ...], low: float | None, expected: str):
    task = task_result(low=low)
    assert task_outcome(parity_report(verdict=verdict, reasons=reasons, task=task), task) == expected


def test_margin_that_would_have_passed():
    assert task_advice(task_result(low=-0.0213)) == "a margin above 2.13 points would have passed"
    assert task_advice(task_result(low=-0.009)) == ""
    assert task_advice(task_result(low=None)) == ""


def test_alarm_is_for_everything_but_pass():
    assert alarm(ParitySummary(verdict="pass", scope="engine", rows=1)) is None
    for verdict in ("fail", "inconclusive", "invalid"):
        said = alarm(ParitySummary(verdict=verdict, scope="engine", rows=1, failure_allowed=True))
        assert said is not None
        assert "FAILED" in said if verdict == "fail" else "NOT PROVED" in said


def test_portable_graph_leaves_the_engine_open():
    assert pending("engine") is None
    assert "has not been compared yet" in (pending("graph") or "")
