"""Levels 1 and 2 of the gate: how far the numbers are apart, and which answers changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mstedge.parity import MAX_FLIPS_LISTED, Flip
from mstedge.runtime.parity.numbers import (
    by_place,
    cosine,
    kl_rows,
    largest_of_a_row,
    probabilities,
    probability_differences,
    sqnr_db,
)
from mstedge.statistics import wilson_interval
from mstedge.verdicts import Check, at_least, at_most

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.limits import Limits
    from mstedge.runtime.parity.rows import GateRows

    Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Decisions:
    """What level 2 found.

    Attributes:
        checks: The measurements.
        flipped: Rows whose answer changed.
        hard: How many of them although the reference was sure.
        flips: The changed rows, those of which the reference was surest first, at most a hundred.
        note: The counts in words, with a bound.
    """

    checks: tuple[Check, ...]
    flipped: int
    hard: int
    flips: tuple[Flip, ...]
    note: str


def number_checks(reference: Floats, candidate: Floats, limits: Limits) -> tuple[Check, ...]:
    """Measure level 1 on real rows.

    Args:
        reference: Logits [rows, classes, *places], finite, at least one row.
        candidate: The same.
        limits: Those of the precision.
    """
    severity = limits.severity
    sqnr = float(np.median(sqnr_db(reference, candidate)))
    differences = probability_differences(reference, candidate)
    p99, kl = float(np.percentile(differences, 99)), float(kl_rows(reference, candidate).mean())
    checks = [
        at_least("L1", "median SQNR of logits in dB", sqnr, limits.min_median_sqnr_db, severity=severity),
        at_least(
            "L1", "median cosine of logits", float(np.median(cosine(reference, candidate))), limits.min_cosine_floor
        ),
        at_most("L1", "99th percentile of |dp|", p99, limits.max_p99_probability_difference, severity=severity),
        at_most("L1", "mean KL in nats", kl, limits.max_mean_kl, severity=severity),
    ]
    if severity == "warn":
        checks.insert(1, at_least("L1", "median SQNR of logits in dB, floor", sqnr, limits.min_sqnr_floor_db))
    if limits.max_probability_difference is not None:
        largest = largest_of_a_row(differences)
        checks.append(at_most("L1", "largest |dp|", largest, limits.max_probability_difference, severity=severity))
    return tuple(checks)


def edge_checks(reference: Floats, candidate: Floats, limits: Limits) -> tuple[Check, ...]:
    """Measure level 1 on made-up extremes, where the precision bounds every single row.

    Args:
        reference: Logits [edges, classes, *places], finite.
        candidate: The same.
        limits: Those of the precision.
    """
    if limits.max_probability_difference is None or not len(reference):
        return ()
    largest = largest_of_a_row(probability_differences(reference, candidate))
    limit = limits.max_probability_difference
    return (at_most("L1", "largest |dp| on made-up extremes", largest, limit, severity=limits.severity),)


def decisions_of(rows: GateRows, candidate: Floats, limits: Limits) -> Decisions:
    """Measure level 2: answers that changed, and those that changed although the reference was sure.

    For dense answers agreement is over places, and a row counts as flipped where a larger share of its places than the
    limits allow changed; as a hard flip where so many changed although the reference was sure.

    Args:
        rows: The rows with the reference's logits, at least one.
        candidate: Logits [rows, classes, *places], finite.
        limits: Those of the precision.
    """
    before, after = by_place(rows.reference).argmax(axis=-1), by_place(candidate).argmax(axis=-1)
    margins = _margins(rows.reference)
    changed = before != after
    surely = changed & (margins > limits.hard_flip_margin)
    allowed = 1.0 - limits.min_agreement if changed.shape[1] > 1 else 0.0
    flipped, hard = changed.mean(axis=1) > allowed, surely.mean(axis=1) > allowed
    unit = "rows" if changed.shape[1] == 1 else "places"
    checks = (
        at_least(
            "L2",
            f"share of {unit} that keep their answer",
            1.0 - float(changed.mean()),
            limits.min_agreement,
            severity=limits.severity,
        ),
        at_most(
            "L2",
            "share of rows that are hard flips",
            float(hard.mean()),
            limits.max_hard_flip_share,
            severity=limits.severity,
        ),
    )
    largest = np.where(changed, margins, -1.0).max(axis=1)
    order = sorted(np.flatnonzero(flipped).tolist(), key=lambda row: (not hard[row], -largest[row]))
    return Decisions(
        checks=checks,
        flipped=int(flipped.sum()),
        hard=int(hard.sum()),
        flips=tuple(
            _flip(
                rows,
                row,
                before=before[row][changed[row]],
                after=after[row][changed[row]],
                margin=float(largest[row]),
                hard=bool(hard[row]),
            )
            for row in order[:MAX_FLIPS_LISTED]
        ),
        note=_counts_in_words(int(flipped.sum()), int(hard.sum()), len(rows), limits),
    )


def _margins(reference: Floats) -> NDArray[np.float64]:
    """Measure how far the most probable class stands above the second: [rows, places]."""
    probability = probabilities(reference)
    if probability.shape[-1] < 2:
        return np.ones(probability.shape[:2])
    top = np.partition(probability, -2, axis=-1)[..., -2:]
    margins: NDArray[np.float64] = top[..., 1] - top[..., 0]
    return margins


def _flip(
    rows: GateRows, row: int, *, before: NDArray[np.int64], after: NDArray[np.int64], margin: float, hard: bool
) -> Flip:
    """Describe a changed row; for dense answers by the commonest answers among its changed places."""
    label = int(rows.labels[row]) if rows.labels.ndim == 1 and rows.labels[row] >= 0 else None
    return Flip(
        id=rows.ids[row],
        label=label,
        reference=int(np.bincount(before).argmax()),
        candidate=int(np.bincount(after).argmax()),
        margin=margin,
        hard=hard,
    )


def _counts_in_words(flipped: int, hard: int, rows: int, limits: Limits) -> str:
    least = 100 * wilson_interval(rows - flipped, rows).low
    return (
        f"{flipped} of {rows} answers changed, {hard} of them hard flips (the reference's margin was above "
        f"{limits.hard_flip_margin:g}); at least {least:.1f} % keep their answer (95 %, Wilson)"
    )
