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
        label: The most probable class in words, or the word for unknown or silence.
        index: Its position, also where the label is unknown or silence.
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


def answer_from_logits(
    logits: NDArray[Any], labels: tuple[str, ...], rule: Postprocess, level_dbfs: float | None = None
) -> Answer:
    """Answer for one sample.

    Args:
        logits: [classes], finite.
        labels: One per class.
        rule: Temperature, threshold and the words for unknown and silence.
        level_dbfs: Level of the clip, as `mstedge.runtime.level` measures it; none where there is none to look at.
    """
    probabilities = softmax(logits, rule.temperature)
    index = int(logits.argmax())
    return answer_of(index, probabilities, labels, rule, silent=is_silent(level_dbfs, rule))


def answer_of(
    index: int, probabilities: NDArray[np.float64], labels: tuple[str, ...], rule: Postprocess, *, silent: bool
) -> Answer:
    """Put the class that leads into words.

    Args:
        index: Its position.
        probabilities: [classes].
        labels: One per class.
        rule: Threshold and the words for unknown and silence.
        silent: Whether the clip is below the level of silence: then nothing else counts.
    """
    probability = float(probabilities[index])
    label = labels[index] if probability >= rule.threshold else rule.unknown
    return Answer(rule.silence if silent else label, index, probability, tuple(probabilities.tolist()))


def is_silent(level_dbfs: float | None, rule: Postprocess) -> bool:
    """Tell whether a clip is answered with silence. Without a level, or a limit for it, no clip is."""
    return level_dbfs is not None and rule.silence_dbfs is not None and level_dbfs < rule.silence_dbfs


def top_margin(logits: NDArray[Any]) -> float:
    """Measure how far the most probable class stands above the second, as a difference of probabilities.

    Args:
        logits: [classes]; a single class stands above nothing by 1.
    """
    ordered = np.sort(softmax(logits))
    return float(ordered[-1] - ordered[-2]) if len(ordered) > 1 else 1.0
