"""From logits to an answer. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.manifest import Postprocess


@dataclass(frozen=True, slots=True)
class Answer:
    """What the logits of one sample say.

    Attributes:
        label: The most probable class in words, or the word for unknown.
        index: Its position, also where the label is unknown.
        probability: Its probability.
        probabilities: One per class.
    """

    label: str
    index: int
    probability: float
    probabilities: tuple[float, ...]


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
    """Turn logits into probabilities, in float64 and without overflow.

    Args:
        logits: [..., classes], finite.
        temperature: Divides the logits; above 0.

    Returns:
        Probabilities, float64 [..., classes].
    """
    # Shifted before it is divided: a small temperature cannot overflow the largest value, which is then 0.
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore", under="ignore"):
        powers = np.exp(shifted / temperature)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float64)


def answer_from_logits(logits: NDArray[Any], labels: tuple[str, ...], rule: Postprocess) -> Answer:
    """Answer for one sample.

    Args:
        logits: [classes], finite.
        labels: One per class.
        rule: Temperature, threshold and the word for unknown.
    """
    probabilities = softmax(logits, rule.temperature)
    index = int(logits.argmax())
    probability = float(probabilities[index])
    label = labels[index] if probability >= rule.threshold else rule.unknown
    return Answer(label, index, probability, tuple(probabilities.tolist()))


def top_margin(logits: NDArray[Any]) -> float:
    """Measure how far the most probable class stands above the second, as a difference of probabilities.

    Args:
        logits: [classes]; a single class stands above nothing by 1.
    """
    ordered = np.sort(softmax(logits))
    return float(ordered[-1] - ordered[-2]) if len(ordered) > 1 else 1.0
