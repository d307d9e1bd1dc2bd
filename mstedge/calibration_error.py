"""How far a model's confidence is from how often it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def expected_calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, bins: int = 15
) -> float:
    """Average the gap between confidence and accuracy (Guo et al. 2017, bins of equal width).

    Args:
        probabilities: [rows, classes], each row sums to one.
        labels: Index of each row's class, [rows].
        bins: Number of bins over confidences from 0 to 1; each includes its upper edge.

    Returns:
        A share: 0 where confidence is always earned, at most 1.

    Raises:
        ValueError: There are no rows, shapes do not fit, or a probability is not a finite number.
    """
    if probabilities.ndim != 2 or not len(probabilities) or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape}: expected [rows, classes]")
    confidence = probabilities.max(axis=1).astype(np.float64)
    if not np.isfinite(confidence).all():
        raise ValueError("probabilities are not finite numbers")
    right = probabilities.argmax(axis=1) == labels
    bin_of_row = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of_row, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(probabilities))
