"""The parity gate: passes what is equal, and fails each kind of damage at the level that should see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mstedge.export.gate import BATCHES, kl_rows, run_gate, sqnr_db
from mstedge.verdicts import ParityReport, at_least, at_most, equals, judged

ROWS, CLASSES = 40, 5
Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]
FEATURES = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(3, CLASSES)).astype(np.float32) * 3
REFERENCE = FEATURES @ WEIGHTS
LABELS = REFERENCE.argmax(axis=1).astype(np.int64)


@dataclass
class FakeSession:
    """Stands in for an engine: a matrix product, then what a test does to its logits."""

    change: Change
    backend: str = "fake 1"
    device: str = "CPU"
    precision: str = "fp32"
    threads: int = 1

    def run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.change((features @ WEIGHTS).astype(np.float32))


def gate(change: Change, labels: NDArray[np.int64] = LABELS) -> ParityReport:
    return run_gate(FakeSession(change), FEATURES, REFERENCE, labels, precision="fp32")  # type: ignore[arg-type]


def reasons(change: Change) -> str:
    report = gate(change)
    assert report.verdict == "fail"
    return "; ".join(report.reasons)


def test_an_equal_engine_passes_with_its_figures() -> None:
    report = gate(lambda logits: logits)
    assert (report.verdict, report.reasons, report.rows, report.batches) == ("pass", (), ROWS, BATCHES)
    assert report.reference_accuracy == report.candidate_accuracy == 1.0
    assert gate(lambda logits: logits, np.full(ROWS, -1)).reference_accuracy is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda logits: logits * np.float32(1.001), "largest |dp|"),
        (lambda logits: logits + np.float32(0.01) * np.arange(CLASSES, dtype=np.float32), "median SQNR"),
        (lambda logits: logits[:, ::-1].copy(), "hard flips"),
        (lambda logits: np.where(logits > 0, np.nan, logits).astype(np.float32), "logits that are not finite"),
        (lambda logits: logits[:, :-1], "runs with a wrong shape"),
        (lambda logits: logits - np.float32(len(logits)) * np.eye(CLASSES, dtype=np.float32)[0], "between batch sizes"),
        (lambda logits: np.repeat(logits, 2, axis=0), "runs with a wrong shape"),
    ],
)
def test_each_damage_fails_at_its_level(change: Change, reason: str) -> None:
    assert reason in reasons(change)


def test_a_single_wrong_row_is_not_drowned_by_the_others() -> None:
    seen = {"rows": 0}

    def damage(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = logits.copy()
        if seen["rows"] == 17:
            changed[0] = changed[0][::-1]
        seen["rows"] += len(logits)
        return changed

    assert "largest |dp|" in reasons(damage)


def test_nothing_compared_is_invalid_and_nan_never_passes() -> None:
    assert judged(()) == ("invalid", ("nothing was compared",))
    for check in (at_most("x", float("nan"), 1.0), at_least("x", float("nan"), 1.0), equals("x", float("nan"), 0.0)):
        assert not check.passed
        assert check.value is None
        assert judged((check,)) == ("fail", (f"x is not a finite number: expected {check.relation} {check.limit:.3g}",))


def test_sqnr_and_kl_are_the_formulas() -> None:
    reference = np.array([[3.0, 4.0]], dtype=np.float32)
    candidate = np.array([[3.0, 4.05]], dtype=np.float32)
    assert sqnr_db(reference, candidate)[0] == pytest.approx(20 * np.log10(5 / 0.05), rel=1e-4)
    assert sqnr_db(reference, reference)[0] == pytest.approx(200.0)
    p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    kl = kl_rows(np.log(p)[None].astype(np.float32), np.log(q)[None].astype(np.float32))
    assert kl[0] == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-5)


@given(st.floats(1e-7, 1e-1), st.integers(0, 1000))
def test_more_noise_never_looks_better(size: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=REFERENCE.shape)
    small = sqnr_db(REFERENCE, (REFERENCE + size * noise).astype(np.float32))
    large = sqnr_db(REFERENCE, (REFERENCE + 10 * size * noise).astype(np.float32))
    assert np.median(large) < np.median(small)
