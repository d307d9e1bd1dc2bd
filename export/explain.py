"""Where a candidate leaves its reference: both graphs tensor by tensor, on the rows that suffer most."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from mstedge.errors import CheckFailedError
from mstedge.explanation import Explanation, TensorDifference
from mstedge.export.matched_tensors import ExposedGraph, MatchedTensor, matched_tensors
from mstedge.limits import LIMITS
from mstedge.runtime.postprocess import softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mstedge.limits import Precision

_CEILING_DB = 200.0


@dataclass(frozen=True, slots=True)
class NamedGraph:
    """An ONNX model, and what to call it.

    Attributes:
        name: For people.
        onnx: Content of the file.
    """

    name: str
    onnx: bytes


def worst_rows(reference: NDArray[np.float32], candidate: NDArray[np.float32], count: int = 16) -> NDArray[np.int64]:
    """Find the rows whose probabilities differ most; those with answers that are not finite come first.

    Args:
        reference: Logits [rows, classes, ...].
        candidate: Logits of the same shape.
        count: At most how many.

    Returns:
        Indices, the worst row first.
    """
    with np.errstate(invalid="ignore"):
        expected, found = (softmax(np.moveaxis(logits, 1, -1)) for logits in (reference, candidate))
        difference = np.abs(found - expected).reshape(len(reference), -1).max(axis=1)
    finite = np.isfinite(candidate).reshape(len(candidate), -1).all(axis=1)
    return np.argsort(-np.where(finite, difference, np.inf), kind="stable")[:count].astype(np.int64)


def explain(
    reference: NamedGraph,
    candidate: NamedGraph,
    features: NDArray[np.float32],
    *,
    ids: Sequence[str],
    precision: Precision,
) -> Explanation:
    """Compare every tensor that two graphs share, one row at a time: memory holds the tensors of one row.

    Both run in ONNX Runtime with its optimisations off, so that each tensor exists; the arithmetic is the graph's.

    Args:
        reference: The fp32 graph.
        candidate: The graph that was made from it: another precision, or other weights.
        features: Rows, float32 [rows, *feature_shape].
        ids: Their names.
        precision: Which limits apply.

    Raises:
        CheckFailedError: The graphs share no tensors, or one of them does not run.
    """
    models = onnx.load_from_string(reference.onnx), onnx.load_from_string(candidate.onnx)
    matched, unmatched = matched_tensors(*models)
    if not matched:
        raise CheckFailedError(
            f"{candidate.name} and {reference.name} have no tensor name in common",
            hint="compare with the graph that the candidate was made from: --against RUN or --against MODEL.onnx",
        )
    exposed = (
        ExposedGraph(models[0], [each.name for each in matched]),
        ExposedGraph(models[1], [each.counterpart for each in matched]),
    )
    tallies = [_Tally() for _ in matched]
    for row in range(len(features)):
        values = [graph.run(features[row : row + 1]) for graph in exposed]
        for tally, expected, found in zip(tallies, *values, strict=True):
            tally.add(expected, found)
    tolerance_db = LIMITS[precision].min_median_sqnr_db
    pairs = [pair for pair in zip(matched, tallies, strict=True) if not pair[1].misfits]
    tensors = tuple(tally.difference(tensor, tolerance_db) for tensor, tally in pairs)
    return Explanation(
        reference=reference.name,
        candidate=candidate.name,
        precision=precision,
        tolerance_db=tolerance_db,
        rows=tuple(ids),
        first_beyond=next((tensor.node for tensor in tensors if tensor.beyond), None),
        tensors=tensors,
        unmatched=unmatched + len(matched) - len(tensors),
    )


@dataclass(slots=True)
class _Tally:
    """Sums over rows that the figures of one tensor follow from."""

    sqnr_db: list[float] = field(default_factory=list)
    worst: float = 0.0
    count: int = 0
    total: float = 0.0
    reference_power: float = 0.0
    candidate_power: float = 0.0
    product: float = 0.0
    misfits: bool = False

    def add(self, reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Take in one row of a tensor; a tensor of another shape is no counterpart."""
        if reference.shape != candidate.shape:
            self.misfits = True
            return
        expected, found = reference.astype(np.float64), candidate.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.abs(found - expected)
            self.sqnr_db.append(_sqnr_db(float(np.linalg.norm(expected)), float(np.linalg.norm(difference))))
            self.worst = max(self.worst, float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0.0)))
            self.candidate_power += float((found**2).sum())
            self.product += float((expected * found).sum())
        self.count += expected.size
        self.total += float(expected.sum())
        self.reference_power += float((expected**2).sum())

    def difference(self, tensor: MatchedTensor, tolerance_db: float) -> TensorDifference:
        """Give the figures of the tensor."""
        sqnr_db = float(np.median(self.sqnr_db)) if self.sqnr_db else _CEILING_DB
        return TensorDifference(
            tensor=tensor.name,
            node=tensor.node,
            operator=tensor.operator,
            median_sqnr_db=sqnr_db,
            worst_difference=self._worst_in_deviations(),
            cosine=self._cosine(),
            beyond=sqnr_db < tolerance_db,
        )

    def _worst_in_deviations(self) -> float | None:
        if self.worst == 0.0:
            return 0.0
        mean = self.total / self.count
        deviation = max(self.reference_power / self.count - mean**2, 0.0) ** 0.5
        return self.worst / deviation if deviation and np.isfinite(self.worst) else None

    def _cosine(self) -> float | None:
        norms = (self.reference_power * self.candidate_power) ** 0.5
        return self.product / norms if norms and np.isfinite(norms) and np.isfinite(self.product) else None


def _sqnr_db(signal: float, noise: float) -> float:
    """Give 20 log10(signal / noise) of two norms, between -200 and 200 dB."""
    if not np.isfinite(noise):
        return -_CEILING_DB
    if noise == 0.0:
        return _CEILING_DB
    if signal == 0.0:
        return -_CEILING_DB
    return float(np.clip(20.0 * np.log10(signal / noise), -_CEILING_DB, _CEILING_DB))
