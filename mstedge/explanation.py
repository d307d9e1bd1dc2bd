"""Where two graphs part: what a comparison of them, tensor by tensor, found."""

from __future__ import annotations

from typing import Literal

from mstedge.limits import Precision
from mstedge.schema import Record


class TensorDifference(Record, frozen=True, kw_only=True):
    """How far one tensor of the candidate is from that of the reference.

    Attributes:
        tensor: Its name in the reference.
        node: Name of the reference's node that makes it, or the tensor's where that has none; `input` for the graph's
            input.
        operator: That node's operator; empty for the graph's input.
        median_sqnr_db: Median over rows of the signal-to-quantisation-noise ratio, between -200 and 200 dB.
        worst_difference: Largest difference as a multiple of the standard deviation that the reference's values have;
            none where those are all equal, or the candidate has values that are not finite.
        cosine: Cosine between both, over all rows; none where one of them is zero or not finite.
        beyond: Whether the median SQNR is below the tolerance.
    """

    tensor: str
    node: str
    operator: str
    median_sqnr_db: float
    worst_difference: float | None
    cosine: float | None
    beyond: bool


class Explanation(Record, frozen=True, kw_only=True):
    """Reference and candidate on the same rows, tensor by tensor in the order of computation.

    Attributes:
        schema: Version of this format.
        reference: What the reference is.
        candidate: What was compared with it.
        precision: Precision that the candidate claims.
        tolerance_db: Median SQNR that each tensor should reach: what the precision must reach in its logits.
        rows: Names of the rows, in which the candidate is furthest from the reference.
        first_beyond: Name of the first node whose tensor is beyond tolerance; none if all are within.
        tensors: Every tensor that both graphs have.
        unmatched: Number of the reference's floating-point tensors that the candidate does not have.
    """

    schema: Literal["mstedge.explanation/1"] = "mstedge.explanation/1"
    reference: str
    candidate: str
    precision: Precision
    tolerance_db: float
    rows: tuple[str, ...]
    first_beyond: str | None
    tensors: tuple[TensorDifference, ...]
    unmatched: int
