"""What a temperature and a threshold give on labelled rows: likelihood, calibration, coverage, false alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mstedge.calibration_error import expected_calibration_error
from mstedge.runtime.false_alarms import alarm_rate
from mstedge.runtime.postprocess import softmax
from mstedge.runtime.temperature import negative_log_likelihood
from mstedge.tuning import RuleFigures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.manifest import Manifest, Postprocess
    from mstedge.runtime.labelled_logits import LabelledLogits


@dataclass(frozen=True, slots=True)
class Judge:
    """Knows which answers are false alarms.

    Attributes:
        manifest: The bundle's.
        over: `negatives`: every class that is given for a row of no class is one. `all`: every wrong class is.
    """

    manifest: Manifest
    over: Literal["negatives", "all"]

    def judged(self, rows: LabelledLogits) -> LabelledLogits:
        """Take the rows that could be false alarms."""
        return rows.where(negatives(rows, self.manifest)) if self.over == "negatives" else rows

    def alarming(self, rows: LabelledLogits) -> NDArray[np.bool_]:
        """Tell which of the judged rows are false alarms where there is no threshold, bool [rows]."""
        index = rows.logits.argmax(axis=1)
        wrong = np.ones(len(rows), dtype=np.bool_) if self.over == "negatives" else index != rows.labels
        alarming: NDArray[np.bool_] = wrong & _given_a_class(rows, self.manifest)
        return alarming

    def figures(self, rows: LabelledLogits, rule: Postprocess) -> RuleFigures:
        """Measure what a rule gives.

        Args:
            rows: With some of the bundle's classes, and some that can be false alarms.
            rule: From logits to an answer.
        """
        labelled = rows.where(rows.labels < len(self.manifest.labels))
        taught, judged = rows.where(positives(rows, self.manifest)), self.judged(rows)
        answered = (top_probability(taught, rule) >= rule.threshold) & _given_a_class(taught, self.manifest)
        alarms = (top_probability(judged, rule) >= rule.threshold) & self.alarming(judged)
        return RuleFigures(
            nll=negative_log_likelihood(labelled.logits, labelled.labels, rule.temperature),
            ece=expected_calibration_error(softmax(labelled.logits, rule.temperature), labelled.labels),
            coverage=float(answered.mean()),
            false_alarms=alarm_rate(int(alarms.sum()), len(judged), len(set(judged.clusters))),
        )


def negatives(rows: LabelledLogits, manifest: Manifest) -> NDArray[np.bool_]:
    """Tell the rows that are labelled with the bundle's word for unknown, bool [rows]."""
    word, labels = manifest.postprocess.unknown, manifest.labels
    negative: NDArray[np.bool_] = rows.labels == (labels.index(word) if word in labels else len(labels))
    return negative


def positives(rows: LabelledLogits, manifest: Manifest) -> NDArray[np.bool_]:
    """Tell the rows of a class that is more than the word for unknown, bool [rows]."""
    return (rows.labels < len(manifest.labels)) & ~negatives(rows, manifest)


def top_probability(rows: LabelledLogits, rule: Postprocess) -> NDArray[np.float64]:
    """Give the probability of each row's most probable class, float64 [rows]."""
    top: NDArray[np.float64] = softmax(rows.logits, rule.temperature).max(axis=1)
    return top


def _given_a_class(rows: LabelledLogits, manifest: Manifest) -> NDArray[np.bool_]:
    """Tell which rows are answered with a class where there is no threshold: neither with silence nor with unknown."""
    words = {manifest.postprocess.unknown, manifest.postprocess.silence}
    says_something = np.array([label not in words for label in manifest.labels], dtype=np.bool_)
    given: NDArray[np.bool_] = says_something[rows.logits.argmax(axis=1)] & ~rows.quiet
    return given
