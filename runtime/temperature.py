"""The temperature that makes probabilities mean what they say (Guo et al. 2017, section 4.2, arXiv 1706.04599)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST_TEMPERATURE = 0.05
HIGHEST_TEMPERATURE = 20.0
_STEPS = 40


def negative_log_likelihood(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float) -> float:
    """Average the negative logarithm of the probability of the true class.

    Args:
        logits: [rows, classes], finite; at least one row.
        labels: Index of each row's class, [rows].
        temperature: Divides the logits.

    Returns:
        Nats per row.
    """
    _, losses = _probabilities_and_losses(_shifted(logits), labels, 1.0 / temperature)
    return float(losses.mean())


def fitted_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float | None:
    """Find the temperature with the least mean negative log likelihood.

    The likelihood is convex in 1 / temperature, so its slope changes sign once: the sign is bisected on a logarithmic
    scale between 0.05 and 20.

    Args:
        logits: [rows, classes], finite; at least one row.
        labels: Index of each row's class, [rows].

    Returns:
        With six significant digits; none where the optimum lies outside: rows that are all right, for one, are ever
        more likely the lower the temperature.
    """
    shifted = _shifted(logits)
    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    if _slope(shifted, labels, low) <= 0.0 or _slope(shifted, labels, high) >= 0.0:
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(shifted, labels, middle) > 0.0 else (low, middle)
    return float(f"{math.exp((low + high) / 2):.6g}")


def _slope(shifted: NDArray[np.float64], labels: NDArray[np.int64], log_temperature: float) -> float:
    """Derivative of the likelihood with respect to 1 / temperature: expected logit minus that of the true class."""
    probabilities, _ = _probabilities_and_losses(shifted, labels, math.exp(-log_temperature))
    expected = (probabilities * shifted).sum(axis=1)
    return float((expected - shifted[np.arange(len(labels)), labels]).mean())


def _probabilities_and_losses(
    shifted: NDArray[np.float64], labels: NDArray[np.int64], inverse: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(under="ignore"):
        powers = np.exp(shifted * inverse)
    sums = powers.sum(axis=1)
    losses = np.log(sums) - shifted[np.arange(len(labels)), labels] * inverse
    return powers / sums[:, np.newaxis], losses


def _shifted(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    shifted: NDArray[np.float64] = wide - wide.max(axis=1, keepdims=True)
    return shifted
