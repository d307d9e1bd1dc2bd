"""Differences between two models from counts that add up: summed over any rows or clusters, they give the metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def accuracy_difference(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the reference's accuracy from the candidate's.

    Args:
        counts: Rows, rows that the reference answers correctly, rows that the candidate does: [..., 3].

    Returns:
        Shares [...]; not a number where there are no rows.
    """
    rows, reference, candidate = np.moveaxis(counts, -1, 0)
    # One division, so that equal differences of counts are equal numbers.
    return _ratio(candidate - reference, rows)


def mean_iou_difference(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the reference's mean intersection over union from the candidate's.

    Args:
        counts: The confusion matrix of the reference, flattened, then that of the candidate: [..., 2 * classes ** 2].

    Returns:
        Shares [...]; not a number where nothing was counted.
    """
    classes = math.isqrt(counts.shape[-1] // 2)
    confusions = counts.reshape(*counts.shape[:-1], 2, classes, classes)
    means = mean_iou(confusions)
    difference: NDArray[np.float64] = means[..., 1] - means[..., 0]
    return difference


def mean_iou(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average intersection over union over the classes that occur, in the labels or in the answers.

    Args:
        confusion: How often each class (second last axis) was answered with which (last axis): [..., classes, classes].

    Returns:
        Shares [...]; not a number where nothing was counted.
    """
    intersection = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - intersection
    occurs = union > 0
    shares = np.where(occurs, _ratio(intersection, union), 0.0)
    return _ratio(shares.sum(axis=-1), occurs.sum(axis=-1))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64] | NDArray[np.intp]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[np.float64] = np.asarray(above / below, dtype=np.float64)
    return ratio
