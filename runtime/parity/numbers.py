"""How far two sets of logits are apart. Pure functions; the reference always comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mstedge.parity import Histogram
from mstedge.runtime.postprocess import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]
    Doubles: TypeAlias = NDArray[np.float64]

HISTOGRAM_EDGES = tuple(10.0**power for power in range(-8, 1))
_SQNR_CEILING_DB = 200.0
_TINY = float(np.finfo(np.float64).tiny)


def by_place(logits: Floats) -> Floats:
    """Bring logits to one form, whether a row has one answer or one per place.

    Args:
        logits: [rows, classes] or [rows, classes, *places].

    Returns:
        [rows, places, classes]; one place where there were none.
    """
    rows, classes = logits.shape[:2]
    return np.moveaxis(logits.reshape(rows, classes, -1), 1, -1)


def probabilities(logits: Floats) -> Doubles:
    """Turn logits [rows, classes, *places] into probabilities [rows, places, classes]."""
    return softmax(by_place(logits))


def probability_differences(reference: Floats, candidate: Floats) -> Doubles:
    """Give |p - p'|, [rows, places, classes]."""
    difference: Doubles = np.abs(probabilities(candidate) - probabilities(reference))
    return difference


def largest_of_a_row(differences: Doubles) -> float:
    """Give the largest |p - p'| of any row; a dense answer counts by the mean over its places.

    A single place of a map may go anywhere where the reference itself is torn, as pooling at a tie is.

    Args:
        differences: [rows, places, classes].
    """
    return float(differences.max(axis=2).mean(axis=1).max())


def sqnr_db(reference: Floats, candidate: Floats) -> Doubles:
    """Give the signal-to-quantisation-noise ratio of each row's logits, in dB.

    Args:
        reference: [rows, ...].
        candidate: The same shape.

    Returns:
        -20 log10(||candidate - reference|| / ||reference||), at most 200: [rows].
    """
    signal = np.linalg.norm(_flat(reference), axis=1)
    noise = np.linalg.norm(_flat(candidate) - _flat(reference), axis=1)
    floor = signal * 10.0 ** (-_SQNR_CEILING_DB / 20.0) + _TINY
    decibels: Doubles = 20.0 * np.log10(np.maximum(signal, floor) / np.maximum(noise, floor))
    return decibels


def cosine(reference: Floats, candidate: Floats) -> Doubles:
    """Give the cosine between each row's logits: [rows]; 1 where both are zero, 0 where one is."""
    one, other = _flat(reference), _flat(candidate)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    cosines: Doubles = np.where(both_zero, 1.0, (one * other).sum(axis=1) / np.maximum(lengths, _TINY))
    return cosines


def kl_rows(reference: Floats, candidate: Floats) -> Doubles:
    """Give KL(reference || candidate) of the probabilities of each row, in nats: [rows], the mean over places."""
    p, q = probabilities(reference), probabilities(candidate)
    divergence: Doubles = np.maximum(0.0, (p * (np.log(p + _TINY) - np.log(q + _TINY))).sum(axis=-1)).mean(axis=-1)
    return divergence


def histogram(differences: Doubles) -> Histogram:
    """Count |p - p'| by powers of ten; a value on an edge counts above it."""
    bins = np.searchsorted(HISTOGRAM_EDGES, differences.ravel(), side="right")
    counts = np.bincount(bins, minlength=len(HISTOGRAM_EDGES) + 1)
    return Histogram(edges=HISTOGRAM_EDGES, counts=tuple(counts.tolist()))


def _flat(values: Floats) -> Doubles:
    return values.reshape(len(values), -1).astype(np.float64)
