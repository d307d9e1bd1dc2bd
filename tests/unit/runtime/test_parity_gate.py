"""The parity gate: passes what is equal, and fails each kind of damage at the level that should see it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from gate_parts import (
    CLASSES,
    ROWS,
    Change,
    Floats,
    calibrated_on,
    gate,
    gate_rows,
    gate_setup,
    product,
)
from numpy.typing import NDArray

from mstedge.parity import Calibration, ParityReport
from mstedge.schema import encode_json
from mstedge.verdicts import Check

FAR = 60.0


def broken(report: ParityReport, severity: str = "fail") -> dict[str, Check]:
    return {check.name: check for check in report.checks if not check.passed and check.severity == severity}


def of_rows(change: Change, *positions: int) -> Change:
    """Change the logits of some rows and leave the others, whatever the batch."""
    rows = gate_rows()
    marked = rows.reference[list(positions)]

    def changed(logits: Floats) -> Floats:
        hit = (np.abs(logits[:, None] - marked[None]).max(axis=-1) < 1e-3).any(axis=1)
        return np.where(hit[:, None], change(logits), logits).astype(np.float32)

    return changed


def swapped_winner(logits: Floats) -> Floats:
    """Exchange the two highest logits of every row."""
    changed = logits.copy()
    order = np.argsort(logits, axis=1)
    rows = np.arange(len(logits))
    first, second = order[:, -1], order[:, -2]
    changed[rows, first], changed[rows, second] = logits[rows, second], logits[rows, first]
    return changed


def noise(size: float) -> Change:
    """Add noise that depends on the row alone."""

    def noisy(logits: Floats) -> Floats:
        return (logits + size * np.sin(1e4 * logits)).astype(np.float32)

    return noisy


def test_an_equal_engine_passes_with_its_figures() -> None:
    report = gate()
    assert (report.verdict, report.reasons, report.rows, report.batches) == ("pass", (), ROWS, (1, 2, 7))
    assert {check.level for check in report.checks} == {"L0", "L1", "L2", "L3"}
    assert all(check.passed for check in report.checks)
    assert (report.flipped, report.hard_flips, report.flips) == (0, 0, ())
    assert report.histogram.counts == (ROWS * CLASSES, *[0] * 9)
    assert report.notes[0] == "400 rows (400 labelled) in 400 independent clusters"
    assert report.notes[2] == "fp32: 400 rows cannot show 0.1 points (2995 would): level 2 decides"
    assert msgspec.json.decode(encode_json(report), type=ParityReport) == report


def test_what_it_says_of_the_engine_is_what_the_engine_says() -> None:
    report = gate(setup=gate_setup(target="trt", scope="graph", model_sha256="7" * 64))
    assert (report.target, report.scope, report.precision) == ("trt", "graph", "fp32")
    assert (report.backend, report.device, report.arithmetic) == ("fake 1", "CPU", "as the graph says")
    assert report.model_sha256 == "7" * 64
    assert report.reference_sha256 != gate(rows=gate_rows(399)).reference_sha256


@pytest.mark.parametrize(
    ("change", "level", "name"),
    [
        (lambda logits: logits * np.float32(1.001), "L1", "largest |dp|"),
        (lambda logits: logits + np.float32(0.5), "L1", "median SQNR of logits in dB"),
        (lambda logits: -logits, "L1", "median cosine of logits"),
        (noise(1e-2), "L1", "99th percentile of |dp|"),
        (noise(1e-1), "L1", "mean KL in nats"),
        (lambda logits: logits[:, ::-1].copy(), "L2", "share of rows that are hard flips"),
        (lambda logits: logits[:, ::-1].copy(), "L2", "share of rows that keep their answer"),
        (lambda logits: np.where(logits > 9, np.inf, logits).astype(np.float32), "L0", "logits that are not finite"),
        (lambda logits: np.where(logits > 9, np.nan, logits).astype(np.float32), "L0", "logits that are not finite"),
        (lambda logits: logits[:, :-1], "L0", "runs with a wrong shape"),
        (lambda logits: np.repeat(logits, 2, axis=0), "L0", "runs with a wrong shape"),
        (lambda logits: logits - np.float32(len(logits)) * np.eye(CLASSES, dtype=np.float32)[0], "L0", "batch sizes"),
    ],
)
def test_each_damage_fails_at_its_level(change: Change, level: str, name: str) -> None:
    report = gate(change)
    assert report.verdict == "fail"
    assert any(check.level == level and name in check.name for check in broken(report).values())
    assert any(reason.startswith(level) and name in reason for reason in report.reasons)


@pytest.mark.parametrize("rows_of_a_batch", [1, 6])
def test_a_frozen_batch_fails_with_the_engines_words(rows_of_a_batch: int) -> None:
    report = gate(largest_batch=rows_of_a_batch)
    assert report.verdict == "fail"
    assert "runs that the engine refused" in broken(report)
    said = "L0: batches of 7: fake 1 could not run the network: got 7 rows, expected 1"
    assert said in report.reasons
    # What did run is compared all the same.
    assert report.task is not None


def test_an_engine_that_refuses_everything_fails_without_a_crash() -> None:
    report = gate(largest_batch=0)
    assert report.verdict == "fail"
    assert len([reason for reason in report.reasons if "could not run the network" in reason]) == 5
    assert (report.task, sum(report.histogram.counts)) == (None, 0)


def test_an_engine_that_answers_differently_every_time() -> None:
    seen = iter(range(100_000))

    def drift(logits: Floats) -> Floats:
        return (logits + np.float32(1e-2) * np.eye(CLASSES, dtype=np.float32)[next(seen) % CLASSES]).astype(np.float32)

    assert "largest |dp| between two runs" in broken(gate(drift))


def test_a_single_wrong_row_is_not_drowned_by_the_others() -> None:
    report = gate(of_rows(swapped_winner, 17))
    assert "largest |dp|" in broken(report)
    assert "share of rows that are hard flips" in broken(report)
    (flip,) = report.flips
    rows = gate_rows()
    assert (flip.id, flip.label, flip.reference) == ("row-17", rows.labels[17], rows.labels[17])
    assert flip.candidate != flip.reference
    assert flip.hard
    assert report.task is not None
    assert (report.task.lost, report.task.gained) == (1, 0)


def test_extremes_are_bounded_where_rows_are() -> None:
    def only_edges(logits: Floats) -> Floats:
        far = np.abs(logits).max(axis=1, keepdims=True) > FAR
        return np.where(far, np.float32(0.01) * logits, logits).astype(np.float32)

    assert np.abs(gate_rows().reference).max() < FAR < np.abs(gate_rows().edges.reference).max()
    assert set(broken(gate(only_edges))) == {"largest |dp| on made-up extremes"}
    assert set(broken(gate(only_edges, precision="fp16"))) == {"largest |dp| on made-up extremes"}
    assert gate(only_edges, precision="int8").verdict == "pass"


def test_extremes_that_are_not_finite_fail_and_rows_are_compared_all_the_same() -> None:
    report = gate(lambda logits: np.where(np.abs(logits) > FAR, np.nan, logits).astype(np.float32))
    assert set(broken(report)) == {"logits that are not finite"}
    assert report.task is not None


def test_limits_of_int8_warn_and_its_floors_fail() -> None:
    coarse = gate(noise(0.8), precision="int8", setup=gate_setup("int8", margin=0.5))
    assert coarse.verdict == "pass"
    assert {"median SQNR of logits in dB", "mean KL in nats"} <= set(broken(coarse, "warn"))
    assert not broken(coarse)
    assert gate(noise(0.8), precision="fp16", setup=gate_setup("fp16", margin=0.5)).verdict == "fail"
    useless = gate(noise(8.0), precision="int8", setup=gate_setup("int8", margin=0.9))
    assert useless.verdict == "fail"
    assert set(broken(useless)) == {"median SQNR of logits in dB, floor", "median cosine of logits"}


@pytest.mark.parametrize(
    ("precision", "weights", "share", "passed"),
    [
        ("fp32", {"float32": 10}, 1.0, True),
        ("fp32", {"float16": 1, "float32": 9}, 0.9, False),
        ("fp32", {}, 1.0, True),
        ("fp16", {"float16": 10, "float32": 2}, 10 / 12, True),
        ("fp16", {"float16": 5, "float32": 6}, 5 / 11, False),
        ("fp16", {}, 0.0, False),
        ("int8", {"int8": 5, "float32": 5}, 0.5, True),
        ("int8", {"float32": 5}, 0.0, False),
        ("int8", {"int8": 3, "uint8": 3, "float32": 4}, 0.6, True),
    ],
)
def test_the_claimed_precision_is_proved_from_the_graph(
    precision: Any, weights: dict[str, int], share: float, passed: Any
) -> None:
    setup = gate_setup(precision)
    report = gate(precision=precision, setup=replace(setup, graph=replace(setup.graph, weights=weights), margin=0.5))
    (check,) = [check for check in report.checks if check.name == f"share of weights in {precision}"]
    assert (check.value, check.passed) == (pytest.approx(share), passed)
    assert (report.verdict == "fail") == (not passed)


def test_features_that_are_not_those_of_training_fail() -> None:
    assert gate(rows=gate_rows(differing_features=0)).verdict == "pass"
    assert "rows whose raw file gives other features" in broken(gate(rows=gate_rows(differing_features=3)))


def test_rows_that_were_calibrated_on_make_it_invalid() -> None:
    rows = gate_rows()
    by_content = gate(rows=rows, precision="int8", setup=gate_setup("int8", calibration=calibrated_on(rows, 3, 5)))
    assert by_content.verdict == "invalid"
    assert by_content.reasons[0].startswith("2 of 400 rows were calibrated on")
    names = Calibration(method="minmax", ids=("row-0", "other"), features_sha256=("0" * 64, "1" * 64))
    by_name = gate(rows=rows, precision="int8", setup=gate_setup("int8", calibration=names))
    assert by_name.verdict == "invalid"
    assert by_name.reasons[0].startswith("1 of 400 rows were calibrated on")
    apart = Calibration(method="minmax", ids=("a", "b"), features_sha256=("0" * 64, "1" * 64))
    clean = gate(rows=rows, precision="int8", setup=gate_setup("int8", calibration=apart, margin=0.02))
    assert (clean.verdict, clean.calibration_rows) == ("pass", 2)


def test_nothing_to_compare_is_invalid() -> None:
    report = gate(rows=gate_rows(0))
    assert (report.verdict, report.rows) == ("invalid", 0)
    assert "there are no rows to compare" in report.reasons


def test_rows_without_labels_are_invalid() -> None:
    report = gate(rows=gate_rows(labels=np.full(ROWS, -1)))
    assert report.verdict == "invalid"
    assert report.task is None
    assert "label" in report.reasons[0]


def test_a_broken_candidate_is_not_excused_by_missing_labels() -> None:
    assert gate(lambda logits: logits[:, 1:], rows=gate_rows(labels=np.full(ROWS, -1))).verdict == "fail"


def test_a_reference_that_is_not_finite_or_has_other_classes_is_invalid() -> None:
    rows = gate_rows()
    reference = rows.reference.copy()
    reference[3, 1] = np.nan
    report = gate(rows=replace(rows, reference=reference))
    assert report.verdict == "invalid"
    assert report.reasons[0] == "the reference's own logits are not finite"
    fewer = gate(setup=gate_setup(labels=tuple("abcd")))
    assert fewer.reasons[0] == "the reference answers with 5 classes, but there are 4"


def test_the_surest_flips_come_first_and_no_more_than_a_hundred() -> None:
    report = gate(swapped_winner)
    assert report.flipped == ROWS
    assert len(report.flips) == 100
    margins = [flip.margin for flip in report.flips]
    assert margins == sorted(margins, reverse=True)
    assert report.hard_flips > 300


def as_places(rows: int = 40, places: tuple[int, ...] = (4, 5)) -> tuple[Any, NDArray[np.int64]]:
    generator = np.random.default_rng(3)
    reference = generator.normal(size=(rows, CLASSES, *places)).astype(np.float32) * 3
    return reference, reference.argmax(axis=1)


def test_dense_answers_are_judged_by_place() -> None:
    reference, labels = as_places()
    rows = replace(gate_rows(40), labels=labels, reference=reference)
    rows = replace(rows, edges=replace(rows.edges, reference=reference[:2]))

    def candidate(spoilt: int) -> Change:
        answers = reference.copy()
        answers[:spoilt] = answers[:spoilt, ::-1]

        def dense(logits: Floats) -> Floats:
            known = np.abs(logits[:, None] - product(rows.features)[None]).max(axis=-1)
            edge = np.abs(logits[:, None] - product(rows.edges.features)[None]).max(axis=-1)
            best = known.argmin(axis=1)
            return np.where(
                (edge.min(axis=1) < 1e-6)[:, None, None, None], reference[edge.argmin(axis=1)], answers[best]
            )

        return dense

    equal = gate(candidate(0), rows=rows)
    assert equal.verdict == "pass"
    assert equal.task is not None
    assert (equal.task.metric, equal.task.method, equal.task.reference) == ("mIoU", "cluster-bca", 1.0)
    spoilt = gate(candidate(3), rows=rows)
    assert spoilt.verdict == "fail"
    assert {flip.id for flip in spoilt.flips} == {"row-0", "row-1", "row-2"}
    assert spoilt.task is not None
    assert (spoilt.task.lost, spoilt.task.gained) == (3, 0)
    assert any("places" in check.name for check in broken(spoilt).values())
