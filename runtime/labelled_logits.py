"""A bundle's logits for labelled rows, and rows of none of its classes: what a rule for answers is fitted on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mstedge.errors import DataError, SampleError
from mstedge.evaluation import FailedFile
from mstedge.runtime.labelled_files import UNLABELLED, read_labelled
from mstedge.runtime.level import level_of_decoded
from mstedge.runtime.postprocess import is_silent

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mstedge.manifest import Manifest
    from mstedge.runtime.labelled_files import LabelledFiles
    from mstedge.runtime.manifest_checks import PartName
    from mstedge.runtime.predictor import Predictor
    from mstedge.specs import Spec


class Progress(Protocol):
    """Shows how far the work has come."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of `done` out of `total`."""


@dataclass(frozen=True, slots=True)
class LabelledLogits:
    """Logits of labelled rows.

    Attributes:
        logits: float32 [rows, classes], finite.
        labels: Index of the true class, int64 [rows]; the number of classes for a row of none of them.
        quiet: Whether the bundle answers silence whatever the logits, bool [rows].
        clusters: The independent unit that each row comes from.
        splits: Part of the split of each row; none where there is no split.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    quiet: NDArray[np.bool_]
    clusters: tuple[str, ...]
    splits: tuple[PartName | None, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, chosen: NDArray[np.bool_]) -> LabelledLogits:
        """Take some of the rows.

        Args:
            chosen: bool [rows].
        """
        rows = np.flatnonzero(chosen).tolist()
        return LabelledLogits(
            logits=self.logits[rows],
            labels=self.labels[rows],
            quiet=self.quiet[rows],
            clusters=tuple(self.clusters[row] for row in rows),
            splits=tuple(self.splits[row] for row in rows),
        )


@dataclass(frozen=True, slots=True)
class _WithNegatives:
    """A student that also knows the word for unknown, last, unless that is one of its classes.

    Attributes:
        modality: Name of the sensor.
        spec: The front end.
        labels: Classes, in the order of the logits, then the word.
    """

    modality: str
    spec: Spec
    labels: tuple[str, ...]


def read_rows_with_negatives(data: Path, manifest: Manifest) -> LabelledFiles:
    """List files with their labels, as `mstedge evaluate` does; the word for unknown labels rows of no class.

    Args:
        data: A manifest or a folder with one sub-folder per label.
        manifest: The bundle's.

    Raises:
        DataError: There is no such path, it is broken, a label is unknown, or none of its rows has a label.
    """
    word = manifest.postprocess.unknown
    more = () if word in manifest.labels else (word,)
    student = _WithNegatives(manifest.modality, manifest.spec, (*manifest.labels, *more))
    files = read_labelled(data, student)
    if not (files.labels != UNLABELLED).any():
        raise DataError(
            f"{files.name}: none of {len(files)} rows has a label",
            hint="put the class of each row into a column `label`",
        )
    return files


def logits_of_files(
    predictor: Predictor, files: LabelledFiles, progress: Progress | None = None
) -> tuple[LabelledLogits, tuple[FailedFile, ...]]:
    """Run the network on every file that has a label.

    Args:
        predictor: What answers.
        files: From `read_rows_with_negatives`.
        progress: Told after every file.

    Returns:
        Logits of the rows that could be read, and the others with reasons.

    Raises:
        MissingPackageError: A file's format needs a package that is not installed.
    """
    labelled = [row for row, label in enumerate(files.labels.tolist()) if label != UNLABELLED]
    logits: dict[int, NDArray[np.float32]] = {}
    quiet: list[bool] = []
    failed: list[FailedFile] = []
    for done, row in enumerate(labelled, start=1):
        try:
            decoded = predictor.decode(files.paths[row])
            logits[row] = predictor.logits(predictor.features(decoded))
        except SampleError as problem:
            failed.append(FailedFile(id=files.ids[row], reason=_reason(problem, files.paths[row])))
        else:
            quiet.append(is_silent(level_of_decoded(decoded, predictor.manifest), predictor.manifest.postprocess))
        if progress is not None:
            progress("files", done, len(labelled))
    found = LabelledLogits(
        logits=np.array(list(logits.values()), dtype=np.float32).reshape(-1, len(predictor.manifest.labels)),
        labels=files.labels[list(logits)],
        quiet=np.array(quiet, dtype=np.bool_),
        clusters=tuple(files.clusters[row] for row in logits),
        splits=tuple(files.splits[row] for row in logits),
    )
    return found, tuple(failed)


def count_perhaps_learnt(predictor: Predictor, files: LabelledFiles) -> int:
    """Count rows of the classes that may be training rows: data without a split were split by the seed of the run."""
    if files.parts:
        return 0
    classes = len(predictor.manifest.labels)
    ids = {one for one, label in zip(files.ids, files.labels.tolist(), strict=True) if 0 <= label < classes}
    others = len(ids - set(predictor.bundle.parity_rows().ids))
    return others if others < len(ids) else 0


def _reason(problem: SampleError, path: Path) -> str:
    """Say what is wrong, as valid Unicode and without the folders that the file lies in: the record may travel."""
    message, whole, name = (
        os.fsencode(text).decode("utf-8", "backslashreplace") for text in (problem.message, str(path), path.name)
    )
    return message.replace(whole, name)
