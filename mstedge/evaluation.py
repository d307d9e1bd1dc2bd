"""How good a bundle's answers are on labelled files: the record that `mstedge evaluate` writes."""

from __future__ import annotations

from typing import Literal

from mstedge.limits import Precision
from mstedge.manifest import ParitySummary, Target
from mstedge.schema import Record


class FailedFile(Record, frozen=True, kw_only=True):
    """A file that was not answered for.

    Attributes:
        id: Name of the row.
        reason: What is wrong with it.
    """

    id: str
    reason: str


class ClassScore(Record, frozen=True, kw_only=True):
    """How the rows of one class were answered.

    Attributes:
        label: The class in words.
        rows: Labelled rows of it.
        answered: Labelled rows, of any class, that were answered with it.
        precision: Share of `answered` that is right; none where nothing was answered with it.
        recall: Share of `rows` that is right; none without rows.
        f1: Harmonic mean of both, 2 right / (rows + answered); none without rows.
        low: Lower end of the 95 % interval of the recall (Wilson 1927) over clusters.
        high: Upper end.
    """

    label: str
    rows: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None
    low: float | None
    high: float | None


class Score(Record, frozen=True, kw_only=True):
    """Figures over all labelled rows that were answered. `unknown` counts as the class behind it.

    Attributes:
        accuracy: Share of rows whose most probable class is right.
        low: Lower end of its 95 % interval (Wilson 1927); clusters, not rows, are its sample size.
        high: Upper end.
        balanced_accuracy: Mean recall over the classes that have rows.
        macro_f1: Mean F1 over the classes that have rows.
        ece: Expected calibration error of the most probable class, 15 equal bins (Guo et al. 2017).
        classes: One per label of the bundle, in the order of the logits.
        confusion: Number of rows, [true class][most probable class].
    """

    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    macro_f1: float
    ece: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]


class Evaluation(Record, frozen=True, kw_only=True):
    """What a bundle answered for somebody's files.

    Attributes:
        schema: Version of this format.
        bundle: Name of the bundle.
        model_sha256: Digest of its ONNX file.
        labels: Its classes, in the order of the logits.
        modality: What it senses.
        target: What it is for.
        precision: Precision that its graph carries.
        parity: What its gate said.
        backend: Engine that ran it, with its version.
        device: Device that it ran on.
        arithmetic: What the engine says that it computed in.
        threads: Threads of one inference.
        data: Name of the file or folder with the rows, without the folders above it.
        parts: Parts of the split that the rows are from; empty where the data have no split.
        left_out: Rows of other parts, which were not looked at.
        perhaps_learnt: Rows that are not among those held out at export although others are, in data without a split:
            the student may have learnt from them, and the figures flatter it.
        rows: Rows that were looked at.
        answered: Rows among them that were answered for.
        failed: The others, with reasons.
        labelled: Answered rows with a label.
        clusters: Independent units among the labelled rows.
        unknown: Answered rows, labelled or not, whose most probable class stayed below the bundle's threshold.
        mean_seconds: Mean time of one answer, from the file's bytes; none where nothing was answered.
        score: Figures; none without a labelled row.
    """

    schema: Literal["mstedge.evaluation/1"] = "mstedge.evaluation/1"
    bundle: str
    model_sha256: str
    labels: tuple[str, ...]
    modality: str
    target: Target
    precision: Precision
    parity: ParitySummary
    backend: str
    device: str
    arithmetic: str
    threads: int
    data: str
    parts: tuple[str, ...] = ()
    left_out: int = 0
    perhaps_learnt: int = 0
    rows: int
    answered: int
    failed: tuple[FailedFile, ...] = ()
    labelled: int
    clusters: int
    unknown: int = 0
    mean_seconds: float | None = None
    score: Score | None = None

    @property
    def unknown_share(self) -> float:
        """Share of the answered rows whose answer is `unknown`; 0 where nothing was answered."""
        return self.unknown / self.answered if self.answered else 0.0
