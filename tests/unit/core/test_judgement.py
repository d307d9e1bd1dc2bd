"""The verdict and its reasons: what refuses, what passes, what nobody can tell."""

from __future__ import annotations

import math

import msgspec
import pytest

from mstedge.judgement import judged
from mstedge.parity import ClassDrop, TaskResult
from mstedge.verdicts import at_least, at_most

GOOD = at_most("L1", "mean KL", 1e-6, 1e-3)
BROKEN = at_least("L1", "median SQNR (dB)", 12.3, 40.0)
DOUBTFUL = at_least("L1", "median SQNR (dB)", 12.3, 15.0, severity="warn")
WITHIN = TaskResult(
    metric="accuracy",
    method="tango",
    rows=800,
    clusters=800,
    reference=0.9,
    candidate=0.8975,
    difference=-0.0025,
    low=-0.008,
    high=0.003,
    confidence=0.95,
    margin=0.01,
    margin_origin="limits of int8",
    lost=3,
    gained=1,
    mcnemar_p=0.625,
    needed_rows=1237,
    reference_ece=0.02,
    candidate_ece=0.02,
)


def _task(**changes: object) -> TaskResult:
    return msgspec.structs.replace(WITHIN, **changes)


def test_a_bound_within_the_margin_passes_without_a_reason():
    assert judged((GOOD,), WITHIN) == ("pass", ())


def test_a_warning_refuses_nothing():
    assert judged((GOOD, DOUBTFUL), WITHIN) == ("pass", ())


def test_a_broken_check_fails_with_its_sentence():
    assert judged((GOOD, BROKEN), WITHIN) == ("fail", ("L1: median SQNR (dB) is 12.3: expected >= 40",))


def test_a_loss_of_the_margin_fails():
    verdict, reasons = judged((GOOD,), _task(candidate=0.885, difference=-0.015, low=-0.03, high=0.001))
    assert verdict == "fail"
    assert reasons == ("L3: accuracy is 1.50 points worse (88.50 % against 90.00 %): the margin is 1.00 points",)


@pytest.mark.parametrize("difference", [-0.01, math.nan])
def test_a_loss_of_exactly_the_margin_and_no_number_at_all_fail(difference: float):
    assert judged((GOOD,), _task(difference=difference))[0] == "fail"


def test_an_upper_bound_below_the_margin_fails():
    verdict, reasons = judged((GOOD,), _task(metric="mIoU", low=-0.03, high=-0.012))
    assert verdict == "fail"
    assert reasons == ("L3: mIoU is at least 1.20 points worse (upper bound -1.20): the margin is 1.00 points",)


def test_a_bound_beyond_the_margin_is_inconclusive_and_names_the_rows_that_would_decide():
    verdict, (reason,) = judged((GOOD,), _task(low=-0.0132))
    assert verdict == "inconclusive"
    assert reason == (
        "L3: accuracy may be 1.32 points worse (lower bound -1.32): the margin is 1.00 points; "
        "about 1237 rows would decide, there are 800"
    )


def test_a_bound_at_the_margin_does_not_pass():
    assert judged((GOOD,), _task(low=-0.01))[0] == "inconclusive"


def test_enough_rows_that_do_not_decide_say_for_whom_they_would_have():
    _, (reason,) = judged((GOOD,), _task(low=-0.0132, needed_rows=619))
    assert reason.endswith("about 619 rows would clear a candidate that loses nothing, and there are 800")


def test_too_few_clusters_are_inconclusive():
    task = _task(method="cluster-bca", clusters=12, low=None, high=None, needed_rows=None)
    assert judged((GOOD,), task) == (
        "inconclusive",
        ("L3: 800 rows in 12 clusters bound no loss of accuracy: the margin is 1.00 points",),
    )


def test_level_two_stands_in_for_a_bound_that_needs_more_rows_than_there_are():
    assert judged((GOOD,), _task(margin=0.001, difference=0.0, low=-0.003, stands_in=True)) == ("pass", ())
    assert judged((GOOD,), _task(margin=0.001, difference=-0.00125, low=-0.004, stands_in=True))[0] == "fail"
    assert judged((BROKEN,), _task(margin=0.001, difference=0.0, low=-0.003, stands_in=True))[0] == "fail"


def _drop(**changes: object) -> ClassDrop:
    worst = ClassDrop(label=4, rows=40, reference_recall=0.95, candidate_recall=0.75, p_value=0.0123)
    return msgspec.structs.replace(worst, **changes)


def test_a_class_that_is_lost_fails_although_the_accuracy_holds():
    verdict, (reason,) = judged((GOOD,), _task(classes=(_drop(),)))
    assert verdict == "fail"
    assert reason == (
        "L3: recall of class 4 is 20.00 points worse (75.00 % against 95.00 %; 40 rows, adjusted p 0.012): "
        "one class may lose 3.00 points"
    )


@pytest.mark.parametrize(
    "drop",
    [
        pytest.param(_drop(rows=29), id="too few rows"),
        pytest.param(_drop(p_value=0.05), id="could be chance"),
        pytest.param(_drop(candidate_recall=0.925), id="less than three margins"),
        pytest.param(_drop(reference_recall=0.5), id="a gain"),
    ],
)
def test_a_class_drop_that_is_small_or_uncertain_is_only_listed(drop: ClassDrop):
    assert judged((GOOD,), _task(classes=(drop,))) == ("pass", ())


def test_every_reason_is_told():
    task = _task(difference=-0.02, candidate=0.88, low=-0.04, high=-0.005, classes=(_drop(), _drop(label=7)))
    verdict, reasons = judged((BROKEN, GOOD, BROKEN), task)
    assert verdict == "fail"
    assert [reason[:2] for reason in reasons] == ["L1", "L1", "L3", "L3", "L3"]


def test_nothing_compared_is_invalid():
    assert judged((), WITHIN) == ("invalid", ("nothing was compared",))
    assert judged((), None) == ("invalid", ("nothing was compared",))


def test_missing_labels_are_invalid_and_do_not_hide_what_is_broken():
    verdict, reasons = judged((GOOD, BROKEN), None)
    assert verdict == "invalid"
    assert reasons[0].startswith("no held-out row has a label")
    assert reasons[1:] == ("L1: median SQNR (dB) is 12.3: expected >= 40",)


def test_leaked_rows_are_invalid_whatever_was_measured():
    leak = "3 of 800 rows were calibrated on"
    assert judged((GOOD,), WITHIN, invalid=(leak,)) == ("invalid", (leak,))
    assert judged((BROKEN,), _task(difference=-0.05), invalid=(leak,))[1][0] == leak
    assert len(judged((BROKEN,), _task(difference=-0.05), invalid=(leak,))[1]) == 3
