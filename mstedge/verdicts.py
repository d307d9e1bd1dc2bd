"""Verdicts of the parity gate: what is measured, what is allowed, and what follows from both.

Pure functions over numbers. Thresholds come from the table "mstedge parity v1" in docs/export.md.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from mstedge.schema import Record

Verdict: TypeAlias = Literal["pass", "fail", "inconclusive", "invalid"]
Precision: TypeAlias = Literal["fp32"]
Scope: TypeAlias = Literal["graph", "engine"]


class Limits(Record, frozen=True, kw_only=True):
    """What a precision may cost, on class probabilities p = softmax(logits).

    Attributes:
        min_median_sqnr_db: Median over rows of the signal-to-quantisation-noise ratio of the logits.
        max_p99_probability_difference: 99th percentile of |p - p'| over rows and classes.
        max_probability_difference: Largest |p - p'|.
        max_mean_kl: Mean over rows of KL(reference || candidate), in nats.
        hard_flip_margin: A changed label is a hard flip where the reference's top-1 to top-2 margin exceeds this.
    """

    min_median_sqnr_db: float
    max_p99_probability_difference: float
    max_probability_difference: float
    max_mean_kl: float
    hard_flip_margin: float


LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(
        min_median_sqnr_db=80.0,
        max_p99_probability_difference=1e-5,
        max_probability_difference=1e-4,
        max_mean_kl=1e-8,
        hard_flip_margin=1e-3,
    )
}


class Check(Record, frozen=True, kw_only=True):
    """One measured value against its limit.

    Attributes:
        name: What was measured.
        value: The measurement; none where it is not a finite number, which never passes.
        limit: What it was held against; it is also the threshold that would just have passed when equal to `value`.
        relation: How the value must stand to the limit.
        passed: Whether it does.
    """

    name: str
    value: float | None
    limit: float
    relation: Literal["<=", ">=", "=="]
    passed: bool


class ParityReport(Record, frozen=True, kw_only=True):
    """Outcome of one gate run.

    Attributes:
        schema: Version of this format.
        verdict: Worst of what the levels say.
        scope: Whether the portable graph or a device's engine was measured.
        precision: Precision that the candidate claims.
        rows: Number of rows compared.
        batches: Batch sizes at which every row was run.
        checks: All measurements.
        reasons: Failed checks in words.
        backend: Engine that ran the candidate, with its version.
        reference_accuracy: Share of labelled rows that the reference answers correctly.
        candidate_accuracy: The same for the candidate.
    """

    schema: Literal["mstedge.parity/1"] = "mstedge.parity/1"
    verdict: Verdict
    scope: Scope
    precision: Precision
    rows: int
    batches: tuple[int, ...]
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]
    backend: str
    reference_accuracy: float | None = None
    candidate_accuracy: float | None = None


def at_most(name: str, value: float, limit: float) -> Check:
    """Build a check that passes when the value does not exceed the limit."""
    return Check(name=name, value=_finite(value), limit=limit, relation="<=", passed=value <= limit)


def at_least(name: str, value: float, limit: float) -> Check:
    """Build a check that passes when the value reaches the limit."""
    return Check(name=name, value=_finite(value), limit=limit, relation=">=", passed=value >= limit)


def equals(name: str, value: float, limit: float) -> Check:
    """Build a check that passes when the value is exactly the limit."""
    return Check(name=name, value=_finite(value), limit=limit, relation="==", passed=value == limit)


def sentence(check: Check) -> str:
    """Say in words what a check found."""
    found = "not a finite number" if check.value is None else f"{check.value:.3g}"
    return f"{check.name} is {found}: expected {check.relation} {check.limit:.3g}"


def _finite(value: float) -> float | None:
    """JSON has no word for infinity and not-a-number."""
    return value if math.isfinite(value) else None


def judged(checks: tuple[Check, ...]) -> tuple[Verdict, tuple[str, ...]]:
    """Turn checks into a verdict and its reasons; no check at all is invalid, never a pass.

    Args:
        checks: Every measurement of a gate run.
    """
    if not checks:
        return "invalid", ("nothing was compared",)
    reasons = tuple(sentence(check) for check in checks if not check.passed)
    return ("fail" if reasons else "pass"), reasons


def failed(report: ParityReport, *reasons: str) -> ParityReport:
    """Copy a report with the verdict turned to fail for further reasons."""
    return msgspec.structs.replace(report, verdict="fail", reasons=report.reasons + reasons)
