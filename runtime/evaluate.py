"""A bundle's answers held against labels: accuracy, classes, confusions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mstedge.calibration_error import expected_calibration_error
from mstedge.errors import DataError, SampleError
from mstedge.evaluation import ClassScore, Evaluation, FailedFile, Score
from mstedge.runtime.labelled_files import UNLABELLED
from mstedge.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mstedge.prediction import Prediction
    from mstedge.runtime.labelled_files import LabelledFiles
    from mstedge.runtime.predictor import Predictor


class Progress(Protocol):
    """Shows how far the work has come."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of `done` out of `total`."""


@dataclass(frozen=True, slots=True)
class LabelledAnswers:
    """Answers to rows whose label is known.

    Attributes:
        labels: Index of the true class, int64 [rows].
        answers: Index of the most probable class, int64 [rows].
        probabilities: float64 [rows, classes].
        clusters: The independent unit that each row comes from.
    """

    labels: NDArray[np.int64]
    answers: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    clusters: tuple[str, ...]


def evaluate(predictor: Predictor, files: LabelledFiles, progress: Progress | None = None) -> Evaluation:
    """Answer for every file and compare with its label. A file that cannot be used is listed; the others go on.

    Args:
        predictor: What answers.
        files: Rows, some of them with labels.
        progress: Told after every file.

    Raises:
        DataError: No row has a label.
        MissingPackageError: A file's format needs a package that is not installed.
    """
    if not (files.labels != UNLABELLED).any():
        raise DataError(
            f"{files.name}: none of {len(files)} rows has a label",
            hint="put the class of each row into a column `label`; without labels, mstedge predict answers",
        )
    answered: dict[int, Prediction] = {}
    failed: list[FailedFile] = []
    for row, path in enumerate(files.paths):
        try:
            answered[row] = predictor.predict(path)
        except SampleError as problem:
            failed.append(FailedFile(id=files.ids[row], reason=_reason(problem, path)))
        if progress is not None:
            progress("files", row + 1, len(files))
    return _evaluation(predictor, files, answered, tuple(failed))


def score_of(given: LabelledAnswers, labels: tuple[str, ...]) -> Score:
    """Compute all figures over labelled rows.

    Args:
        given: Answers with the truth; at least one row.
        labels: Classes, in the order of the logits.
    """
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (given.labels, given.answers), 1)
    right = given.answers == given.labels
    classes = tuple(
        _class_score(label, index, confusion, _units(given.clusters, given.labels == index))
        for index, label in enumerate(labels)
    )
    units = _units(given.clusters, np.ones(len(right), dtype=np.bool_))
    share = float(right.mean())
    low, high = wilson_interval(share * units, units)
    return Score(
        accuracy=share,
        low=low,
        high=high,
        balanced_accuracy=_mean([each.recall for each in classes if each.recall is not None]),
        macro_f1=_mean([each.f1 for each in classes if each.f1 is not None]),
        ece=expected_calibration_error(given.probabilities, given.labels),
        classes=classes,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _evaluation(
    predictor: Predictor, files: LabelledFiles, answered: dict[int, Prediction], failed: tuple[FailedFile, ...]
) -> Evaluation:
    manifest, session = predictor.manifest, predictor.session
    labelled = [row for row in answered if files.labels[row] != UNLABELLED]
    seconds = [each.times.total_ms / 1e3 for each in answered.values()]
    given = LabelledAnswers(
        labels=files.labels[labelled],
        answers=np.array([answered[row].index for row in labelled], dtype=np.int64),
        probabilities=np.array([answered[row].probabilities for row in labelled], dtype=np.float64),
        clusters=tuple(files.clusters[row] for row in labelled),
    )
    return Evaluation(
        bundle=manifest.name,
        model_sha256=predictor.bundle.digests[manifest.model],
        labels=manifest.labels,
        modality=manifest.modality,
        target=manifest.target,
        precision=manifest.precision,
        parity=manifest.parity,
        backend=session.backend,
        device=session.device,
        arithmetic=session.arithmetic,
        threads=session.threads,
        data=files.name,
        parts=files.parts,
        left_out=files.left_out,
        perhaps_learnt=_perhaps_learnt(predictor, files),
        rows=len(files),
        answered=len(answered),
        failed=failed,
        labelled=len(labelled),
        clusters=len(set(given.clusters)),
        unknown=sum(each.probability < manifest.postprocess.threshold for each in answered.values()),
        mean_seconds=_mean(seconds) if seconds else None,
        score=score_of(given, manifest.labels) if labelled else None,
    )


def _perhaps_learnt(predictor: Predictor, files: LabelledFiles) -> int:
    """Count rows that may be training rows: a manifest without a split was split by the seed of the run."""
    if files.parts:
        return 0
    unknown = len(set(files.ids) - set(predictor.bundle.parity_rows().ids))
    return unknown if unknown < len(files) else 0


def _class_score(label: str, index: int, confusion: NDArray[np.int64], units: int) -> ClassScore:
    rows, answered = int(confusion[index].sum()), int(confusion[:, index].sum())
    right = int(confusion[index, index])
    recall = right / rows if rows else None
    interval = wilson_interval(recall * units, units) if recall is not None else None
    return ClassScore(
        label=label,
        rows=rows,
        answered=answered,
        precision=right / answered if answered else None,
        recall=recall,
        f1=2 * right / (rows + answered) if rows else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
    )


def _units(clusters: Sequence[str], counts: NDArray[np.bool_]) -> int:
    """Count the independent units among some of the rows."""
    return len({cluster for cluster, one in zip(clusters, counts.tolist(), strict=True) if one})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _reason(problem: SampleError, path: Path) -> str:
    """Say what is wrong, as valid Unicode and without the folders that the file lies in: the record may travel."""
    message, whole, name = (
        os.fsencode(text).decode("utf-8", "backslashreplace") for text in (problem.message, str(path), path.name)
    )
    return message.replace(whole, name)
