"""What a precision may cost: the limits of "mstedge parity v1" as data. docs/export.md shows the same table."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mstedge.schema import Record

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]
Severity: TypeAlias = Literal["fail", "warn"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


class Limits(Record, frozen=True, kw_only=True):
    """What a precision may cost, on class probabilities p = softmax(logits).

    Attributes:
        min_median_sqnr_db: Median over rows of the signal-to-quantisation-noise ratio of the logits.
        max_p99_probability_difference: 99th percentile of |p - p'| over rows and classes.
        max_probability_difference: Largest |p - p'|; none where a single row may go anywhere.
        max_mean_kl: Mean over rows of KL(reference || candidate), in nats.
        max_repeat_difference: Largest |p - p'| between two runs of one row, and between batch sizes.
        hard_flip_margin: A changed label is a hard flip where the reference's top-1 to top-2 margin exceeds this.
        max_hard_flip_share: Share of rows that may be hard flips.
        min_agreement: Share of rows that must keep their label; for dense answers, of places.
        severity: What breaking the limits of levels 1 and 2 means: refused, or said.
        min_sqnr_floor_db: Median SQNR below which a candidate is refused whatever the severity says.
        min_cosine_floor: The same for the median cosine between logits.
        margin_points: How much accuracy may be lost, in percentage points.
        relative_margin: The margin is also at most this share of the reference's accuracy.
    """

    min_median_sqnr_db: float
    max_p99_probability_difference: float
    max_probability_difference: float | None
    max_mean_kl: float
    max_repeat_difference: float
    hard_flip_margin: float
    max_hard_flip_share: float
    min_agreement: float
    severity: Severity
    margin_points: float
    relative_margin: float = 1.0
    min_sqnr_floor_db: float = 6.0
    min_cosine_floor: float = 0.95


LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(
        min_median_sqnr_db=80.0,
        max_p99_probability_difference=1e-5,
        max_probability_difference=1e-4,
        max_mean_kl=1e-8,
        max_repeat_difference=1e-5,
        hard_flip_margin=1e-3,
        max_hard_flip_share=0.0,
        min_agreement=0.99,
        severity="fail",
        margin_points=0.1,
    ),
    "fp16": Limits(
        min_median_sqnr_db=40.0,
        max_p99_probability_difference=5e-3,
        max_probability_difference=2e-2,
        max_mean_kl=1e-3,
        max_repeat_difference=1e-3,
        hard_flip_margin=2e-2,
        max_hard_flip_share=0.0,
        min_agreement=0.995,
        severity="fail",
        margin_points=0.5,
    ),
    "int8": Limits(
        min_median_sqnr_db=15.0,
        max_p99_probability_difference=1.5e-1,
        max_probability_difference=None,
        max_mean_kl=2e-2,
        max_repeat_difference=1e-3,
        hard_flip_margin=2e-1,
        max_hard_flip_share=5e-3,
        min_agreement=0.98,
        severity="warn",
        margin_points=1.0,
        relative_margin=0.01,
    ),
}


def default_margin(precision: Precision, reference_accuracy: float) -> float:
    """Give the accuracy that a candidate may lose, as a share (0.01 is one percentage point).

    Args:
        precision: Which limits apply.
        reference_accuracy: Share of rows that the reference answers correctly.
    """
    limits = LIMITS[precision]
    return min(limits.margin_points / 100.0, limits.relative_margin * reference_accuracy)
