"""Level 3: which bounds hold for which rows, and what they say of a loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gate_parts import CLASSES, Floats, gate_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mstedge.noninferiority import mcnemar_exact, tango_bounds
from mstedge.parity import TaskResult
from mstedge.runtime.parity.rows import GateRows
from mstedge.runtime.parity.task import task_result


def answered(answers: NDArray[np.int64]) -> Floats:
    """Make logits that give these answers."""
    return (np.eye(CLASSES, dtype=np.float32)[answers] * 20).astype(np.float32)


def lossy(rows: GateRows, lost: int) -> Floats:
    """Answer the first rows wrongly, the others as the reference does."""
    answers = rows.reference.argmax(axis=1)
    answers[:lost] = (answers[:lost] + 1) % CLASSES
    return answered(answers)


def result(rows: GateRows, candidate: Floats, *, margin: float | None = None, precision: str = "int8") -> TaskResult:
    found = task_result(rows, candidate, precision, margin)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_independent_rows_have_tangos_bounds() -> None:
    rows = gate_rows(1000)
    found = result(rows, lossy(rows, 7))
    low, high = tango_bounds(7, 0, 1000)
    assert (found.method, found.rows, found.clusters, found.lost, found.gained) == ("tango", 1000, 1000, 7, 0)
    assert (found.low, found.high, found.difference) == (low, high, pytest.approx(-0.007))
    assert (found.reference, found.candidate) == (1.0, 0.993)
    assert found.mcnemar_p == mcnemar_exact(7, 0)
    assert (found.margin, found.margin_origin) == (0.01, "default of int8")


def test_rows_that_belong_together_are_resampled_together() -> None:
    rows = gate_rows(1000, rows_of_a_cluster=5)
    found = result(rows, lossy(rows, 10))
    assert (found.method, found.rows, found.clusters) == ("cluster-bca", 1000, 200)
    assert found.low is not None
    # Two recordings that were lost as a whole say less than ten rows of their own.
    assert found.low < tango_bounds(10, 0, 1000).low


def test_too_few_clusters_bound_nothing_and_say_what_would() -> None:
    rows = gate_rows(190, rows_of_a_cluster=10)
    found = result(rows, lossy(rows, 0))
    assert (found.low, found.high) == (None, None)
    assert found.needed_rows is not None
    assert found.needed_rows >= 200


def test_rows_without_labels_do_not_count() -> None:
    labels = gate_rows(300).labels.copy()
    labels[100:] = -1
    rows = gate_rows(300, labels=labels, rows_of_a_cluster=100)
    found = result(rows, lossy(rows, 0))
    assert (found.rows, found.clusters) == (100, 1)
    every_cluster_once = replace(rows, clusters=tuple(f"r{row}" for row in range(100)) + ("r0",) * 200)
    assert result(every_cluster_once, lossy(rows, 0)).method == "tango"
    assert task_result(gate_rows(3, labels=np.full(3, -1)), rows.reference[:3], "int8", None) is None


def test_needed_rows_stand_only_where_these_do_not_decide() -> None:
    rows = gate_rows(300)
    assert result(rows, lossy(rows, 0), margin=0.01).needed_rows is None
    open_case = result(rows, lossy(rows, 2), margin=0.01)
    assert open_case.needed_rows is not None
    assert open_case.needed_rows > 300
    assert result(rows, lossy(rows, 30), margin=0.01).needed_rows is None


@pytest.mark.parametrize(
    ("precision", "rows", "rows_of_a_cluster", "margin", "stands_in"),
    [
        ("fp32", 2994, 1, None, True),
        ("fp32", 2995, 1, None, False),
        ("fp32", 4000, 2, None, True),
        ("fp32", 298, 1, 0.01, True),
        ("fp32", 299, 1, 0.01, False),
        ("fp16", 100, 1, None, False),
        ("int8", 100, 1, None, False),
    ],
)
def test_level_2_stands_in_for_fp32_where_nobody_has_the_rows(
    precision: str, rows: int, rows_of_a_cluster: int, margin: float | None, *, stands_in: bool
) -> None:
    given_rows = gate_rows(rows, rows_of_a_cluster=rows_of_a_cluster)
    assert result(given_rows, lossy(given_rows, 0), margin=margin, precision=precision).stands_in is stands_in


def test_the_margin_of_int8_shrinks_with_the_reference() -> None:
    rows = gate_rows(400)
    labels = rows.labels.copy()
    labels[:200] = (labels[:200] + 1) % CLASSES
    found = result(replace(rows, labels=labels), lossy(rows, 0))
    assert found.margin == pytest.approx(0.005)
    assert found.margin_origin == "default of int8: 1 % of the reference"
    assert result(rows, lossy(rows, 0), margin=0.03).margin_origin == "--margin"


def test_a_reference_that_is_never_right_has_no_margin_and_no_crash() -> None:
    rows = gate_rows(50)
    wrong = replace(rows, labels=(rows.labels + 1) % CLASSES)
    for each in (wrong, replace(wrong, clusters=tuple(f"c{row // 2}" for row in range(50)))):
        found = result(each, lossy(rows, 0))
        assert (found.margin, found.needed_rows, found.difference) == (0.0, None, 0.0)


def test_the_worst_class_comes_first_with_an_adjusted_p() -> None:
    rows = gate_rows(400)
    answers = rows.labels.copy()
    of_class = np.flatnonzero(rows.labels == 2)
    answers[of_class[:12]] = 3
    found = result(rows, answered(answers))
    worst = found.classes[0]
    assert (worst.label, worst.rows) == (2, len(of_class))
    assert (worst.reference_recall, worst.candidate_recall) == (1.0, pytest.approx(1 - 12 / len(of_class)))
    assert worst.p_value == pytest.approx(min(1.0, len(found.classes) * mcnemar_exact(12, 0)))
    assert sum(each.rows for each in found.classes) == 400


def test_calibration_errors_are_those_of_both() -> None:
    rows = gate_rows(200)
    found = result(rows, answered(rows.labels))
    assert found.candidate_ece < 1e-6
    assert found.reference_ece > 0.01


def dense_rows(images: int) -> GateRows:
    reference = np.random.default_rng(5).normal(size=(images, CLASSES, 6, 7)).astype(np.float32) * 4
    return replace(gate_rows(images), reference=reference, labels=reference.argmax(axis=1))


def test_dense_answers_are_compared_by_mean_iou_over_clusters() -> None:
    rows = dense_rows(60)
    candidate = rows.reference.copy()
    candidate[:10, :, :3] = candidate[:10, ::-1, :3]
    found = result(rows, candidate)
    assert (found.metric, found.method, found.rows, found.clusters) == ("mIoU", "cluster-bca", 60, 60)
    assert (found.lost, found.gained, found.reference) == (10, 0, 1.0)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.difference < found.high <= 0


def test_dense_mean_iou_is_the_textbooks() -> None:
    rows = dense_rows(30)
    candidate = np.random.default_rng(6).normal(size=rows.reference.shape).astype(np.float32)
    truth, answers = rows.labels.ravel(), candidate.argmax(axis=1).ravel()
    shares = [((truth == k) & (answers == k)).sum() / ((truth == k) | (answers == k)).sum() for k in range(CLASSES)]
    assert result(rows, candidate).candidate == pytest.approx(np.mean(shares))


def test_places_without_a_label_do_not_count() -> None:
    rows = dense_rows(30)
    labels = rows.labels.copy()
    labels[:, 3:] = -1
    candidate = rows.reference.copy()
    candidate[:, :, 3:] = -candidate[:, :, 3:]
    found = result(replace(rows, labels=labels), candidate)
    assert (found.candidate, found.lost) == (1.0, 0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(0, 59), st.sampled_from([1, 2, 3]))
def test_losing_more_rows_never_looks_better(lost: int, more: int, rows_of_a_cluster: int) -> None:
    rows = gate_rows(120, rows_of_a_cluster=rows_of_a_cluster)
    fewer, many = (result(rows, lossy(rows, count), margin=0.05) for count in (lost, min(120, lost + more)))
    assert many.difference <= fewer.difference
    assert fewer.low is not None
    assert many.low is not None
    assert many.low <= fewer.low + 0.02  # the bootstrap's own noise
