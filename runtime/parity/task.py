"""Level 3 of the gate: what the conversion costs in accuracy or mean intersection over union, with bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mstedge.bootstrap import LEAST_CLUSTERS, bca_bounds
from mstedge.calibration_error import expected_calibration_error
from mstedge.clustered_accuracy import clustered_accuracy_bounds
from mstedge.limits import LIMITS, default_margin
from mstedge.noninferiority import (
    holm,
    mcnemar_exact,
    needed_rows,
    rows_without_discordance,
    tango_bounds,
)
from mstedge.paired_metrics import accuracy_difference, mean_iou, mean_iou_difference
from mstedge.parity import ClassDrop, TaskResult
from mstedge.runtime.parity.numbers import by_place, probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.limits import Precision
    from mstedge.parity import Method
    from mstedge.runtime.parity.rows import GateRows

    Floats: TypeAlias = NDArray[np.float32]
    Integers: TypeAlias = NDArray[np.int64]

CONFIDENCE = 0.95
# What 80 % power needs beyond 95 % confidence: (1.645 + 0.842) / 1.645.
_REACH_WITH_POWER = 1.512


@dataclass(frozen=True, slots=True)
class _Paired:
    """Labelled rows with both answers.

    Attributes:
        labels: [rows, places], negative where there is none; one place for a row with one answer.
        reference: Index of the reference's answer, [rows, places].
        candidate: The same for the candidate.
        units: Index of each row's cluster, [rows].
        dense: Whether rows have an answer per place.
        classes: Number of classes.
    """

    labels: Integers
    reference: Integers
    candidate: Integers
    units: Integers
    dense: bool
    classes: int

    @property
    def clusters(self) -> int:
        """Number of independent units."""
        return int(self.units.max()) + 1

    def right(self, answers: Integers) -> Integers:
        """Count the places of each row that are answered correctly: [rows]."""
        return np.asarray(((answers == self.labels) & (self.labels >= 0)).sum(axis=1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What the rows say about a loss.

    Attributes:
        method: Where the bounds come from.
        low: Lower bound of the difference; none below twenty clusters.
        high: Upper bound.
        needed_rows: Rows that would decide; none without a margin.
    """

    method: Method
    low: float | None
    high: float | None
    needed_rows: int | None


def task_result(rows: GateRows, candidate: Floats, precision: Precision, margin: float | None) -> TaskResult | None:
    """Compare the metric of reference and candidate.

    Accuracy over independent rows has Tango's score bounds. Where a cluster has several rows, and for the mean
    intersection over union of dense answers, clusters are resampled (BCa). A dense row counts as lost where the
    candidate has fewer places right than the reference, and as gained where it has more.

    Args:
        rows: The rows with labels and the reference's logits.
        candidate: Logits [rows, classes, *places], finite.
        precision: Which margin holds where none is given.
        margin: How much may be lost, as a share; none for the precision's.

    Returns:
        The result, or none where no row has a label.
    """
    kept = np.asarray((rows.labels.reshape(len(rows), -1) >= 0).any(axis=1))
    if not kept.any():
        return None
    paired = _paired(rows, candidate, kept)
    before, after = _metric(paired, paired.reference), _metric(paired, paired.candidate)
    allowed = default_margin(precision, before) if margin is None else margin
    right_before, right_after = paired.right(paired.reference), paired.right(paired.candidate)
    lost, gained = int((right_after < right_before).sum()), int((right_after > right_before).sum())
    bounds = _bounds(paired, lost, gained, allowed)
    units = len(paired.labels) if bounds.method == "tango" else paired.clusters
    difference = _difference(paired)
    decided = difference <= -allowed or (bounds.low is not None and bounds.low > -allowed)
    stands_in = precision == "fp32" and 0 < allowed < 1 and units < rows_without_discordance(allowed)
    return TaskResult(
        metric="mIoU" if paired.dense else "accuracy",
        method=bounds.method,
        rows=len(paired.labels),
        clusters=paired.clusters,
        reference=before,
        candidate=after,
        difference=difference,
        low=bounds.low,
        high=bounds.high,
        confidence=CONFIDENCE,
        margin=allowed,
        margin_origin=_margin_origin(precision, allowed) if margin is None else "--margin",
        lost=lost,
        gained=gained,
        mcnemar_p=mcnemar_exact(lost, gained),
        needed_rows=None if decided else bounds.needed_rows,
        stands_in=stands_in,
        reference_ece=_calibration_error(rows.reference[kept], paired.labels),
        candidate_ece=_calibration_error(candidate[kept], paired.labels),
        classes=_class_drops(paired),
    )


def _paired(rows: GateRows, candidate: Floats, kept: NDArray[np.bool_]) -> _Paired:
    _, units = np.unique(np.array(rows.clusters)[kept], return_inverse=True)
    return _Paired(
        labels=rows.labels.reshape(len(rows), -1)[kept],
        reference=by_place(rows.reference[kept]).argmax(axis=-1),
        candidate=by_place(candidate[kept]).argmax(axis=-1),
        units=units.reshape(-1),
        dense=rows.labels.ndim > 1,
        classes=rows.reference.shape[1],
    )


def _bounds(paired: _Paired, lost: int, gained: int, margin: float) -> _Bounds:
    rows = len(paired.labels)
    independent = needed_rows((lost + gained) / rows, margin, rows=rows) if margin > 0 else 0
    if not paired.dense and paired.clusters == rows:
        low, high = tango_bounds(lost, gained, rows, confidence=CONFIDENCE)
        return _Bounds("tango", low, high, independent or None)
    counts = _cluster_counts(paired)
    if paired.dense:
        interval = bca_bounds(counts, mean_iou_difference, confidence=CONFIDENCE)
    else:
        interval = clustered_accuracy_bounds(counts, lost, gained, confidence=CONFIDENCE)
    if interval is None:
        fewest = math.ceil(LEAST_CLUSTERS * rows / paired.clusters)
        return _Bounds("cluster-bca", None, None, max(fewest, independent))
    if margin <= 0:
        return _Bounds("cluster-bca", interval.low, interval.high, None)
    # A bound's distance from the estimate shrinks with the root of the number of clusters.
    reach = (_difference(paired) - interval.low) * _REACH_WITH_POWER / margin
    return _Bounds("cluster-bca", interval.low, interval.high, math.ceil(rows * reach**2))


def _cluster_counts(paired: _Paired) -> NDArray[np.float64]:
    """Count per cluster what the metric adds up: [clusters, k]."""
    if paired.dense:
        both = [_confusions(paired, answers) for answers in (paired.reference, paired.candidate)]
        return np.concatenate(both, axis=1)
    columns = (np.ones(len(paired.labels)), paired.right(paired.reference), paired.right(paired.candidate))
    return np.stack([np.bincount(paired.units, weights=column) for column in columns], axis=1)


def _confusions(paired: _Paired, answers: Integers) -> NDArray[np.float64]:
    """Count answers per cluster: [clusters, classes * classes], the true class first."""
    cells = paired.classes**2
    known = paired.labels >= 0
    cell = paired.units[:, np.newaxis] * cells + paired.labels * paired.classes + answers
    counted = np.bincount(cell[known], minlength=paired.clusters * cells)
    return counted.reshape(paired.clusters, cells).astype(np.float64)


def _metric(paired: _Paired, answers: Integers) -> float:
    if not paired.dense:
        return float(paired.right(answers).mean())
    total = _confusions(paired, answers).sum(axis=0)
    return float(mean_iou(total.reshape(paired.classes, paired.classes)))


def _difference(paired: _Paired) -> float:
    metric = mean_iou_difference if paired.dense else accuracy_difference
    return float(metric(_cluster_counts(paired).sum(axis=0)))


def _margin_origin(precision: Precision, margin: float) -> str:
    limits = LIMITS[precision]
    relative = f": {100 * limits.relative_margin:g} % of the reference" if 100 * margin < limits.margin_points else ""
    return f"default of {precision}{relative}"


def _calibration_error(logits: Floats, labels: Integers) -> float:
    known = labels >= 0
    return expected_calibration_error(probabilities(logits)[known], labels[known])


def _class_drops(paired: _Paired) -> tuple[ClassDrop, ...]:
    """Compare recall class by class, the largest drop first; p-values are adjusted for their number."""
    drops = []
    for label in range(paired.classes):
        of_class = paired.labels == label
        places = int(of_class.sum())
        if places:
            before = ((paired.reference == label) & of_class).sum(axis=1)
            after = ((paired.candidate == label) & of_class).sum(axis=1)
            p_value = mcnemar_exact(int((after < before).sum()), int((after > before).sum()))
            rows = int(of_class.any(axis=1).sum())
            drops.append((label, rows, int(before.sum()) / places, int(after.sum()) / places, p_value))
    adjusted = holm([drop[-1] for drop in drops])
    found = [
        ClassDrop(label=label, rows=rows, reference_recall=before, candidate_recall=after, p_value=p_value)
        for (label, rows, before, after, _), p_value in zip(drops, adjusted, strict=True)
    ]
    return tuple(sorted(found, key=lambda drop: (drop.candidate_recall - drop.reference_recall, drop.label)))
