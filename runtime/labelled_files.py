"""Somebody's files with what is known about them: a manifest, or a folder with a sub-folder per label."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mstedge.errors import DataError, nearest
from mstedge.runtime.manifest_checks import PARTS, check_ids, given_parts
from mstedge.runtime.manifest_rows import lines_text, read_rows
from mstedge.runtime.sources import readable_suffixes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mstedge.runtime.manifest_checks import PartName
    from mstedge.specs import Spec

UNLABELLED = -1
_SUFFIXES = (".csv", ".jsonl")
_SHOWN = 3
_BOTH_FORMS = "give a manifest (.csv, .jsonl), or a folder with one sub-folder per label"


class Student(Protocol):
    """What must be known of a student to read files for it; a bundle's manifest says all of it."""

    @property
    def modality(self) -> str:
        """Name of the sensor, and of its column in a manifest."""

    @property
    def spec(self) -> Spec:
        """Its front end: decides what a folder is searched for."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the logits."""


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Files of one modality, one per row.

    Attributes:
        name: Name of the manifest or the folder, without the folders above it.
        ids: One name per row, the same as in training.
        paths: Absolute path of each file; whether it exists is for its reader to find out.
        labels: int64 [rows], index of the class or `UNLABELLED`.
        clusters: The independent unit that each row comes from.
        splits: Part of the split of each row; none where there is no split.
        parts: Parts that were asked for, where there is a split.
        left_out: Rows of other parts, which are not among these.
        skipped: Files in the folder whose suffix says that they are something else.
    """

    name: str
    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    clusters: tuple[str, ...]
    splits: tuple[PartName | None, ...]
    parts: tuple[PartName, ...] = ()
    left_out: int = 0
    skipped: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def read_labelled(data: Path, student: Student, *, parts: Iterable[PartName] = ("validation", "test")) -> LabelledFiles:
    """List files with their labels.

    Args:
        data: A `.csv` or `.jsonl` manifest with a column named like the modality (columns of other sensors may stand
            beside it), or a folder with one sub-folder per label.
        student: Who shall answer for the files; a bundle's manifest, for one.
        parts: Parts whose rows are kept where the manifest has a `split` column; those of the training part would
            flatter the student.

    Raises:
        DataError: There is no such path, the manifest is broken, a label is unknown, or nothing is left.
    """
    if data.is_dir():
        return _from_folder(data, student)
    if not data.exists():
        raise DataError(f"{data}: there is no such file or folder", hint=_BOTH_FORMS)
    if data.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{data}: is neither a manifest nor a folder", hint=_BOTH_FORMS)
    return _from_manifest(data, student, tuple(part for part in PARTS if part in set(parts)))


def _from_manifest(data: Path, student: Student, parts: tuple[PartName, ...]) -> LabelledFiles:
    rows = read_rows(data, [student.modality], student.modality, others_allowed=True)
    check_ids(data, rows)
    splits: Sequence[PartName | None] = given_parts(data, rows) if rows[0].split else [None] * len(rows)
    kept = [(row, split) for row, split in zip(rows, splits, strict=True) if split is None or split in parts]
    if not kept:
        raise DataError(
            f"{data}: none of {len(rows)} rows is of the split {' or '.join(parts)}",
            hint="the other rows are those that the student learnt from",
        )
    index_of = {label: index for index, label in enumerate(student.labels)}
    for row in rows:
        if row.label and row.label not in index_of:
            lines = lines_text(each.line for each in rows if each.label == row.label)
            raise DataError(
                f"{data}: the label {row.label!r} on {lines} is none of the student's",
                hint=nearest(row.label, student.labels),
            )
    folder = data.absolute().parent
    return LabelledFiles(
        name=data.name,
        ids=tuple(row.id for row, _ in kept),
        paths=tuple(folder / row.files[0] for row, _ in kept),
        labels=np.array([index_of.get(row.label, UNLABELLED) for row, _ in kept], dtype=np.int64),
        clusters=tuple(row.cluster for row, _ in kept),
        splits=tuple(split for _, split in kept),
        parts=parts if kept[0][1] is not None else (),
        left_out=len(rows) - len(kept),
    )


def _from_folder(data: Path, student: Student) -> LabelledFiles:
    folders, loose = _entries(data)
    _check_folders(data, folders, loose, student)
    index_of = {label: index for index, label in enumerate(student.labels)}
    suffixes = readable_suffixes(student.spec)
    names: list[str] = []
    labels: list[int] = []
    skipped: list[Path] = []
    for folder in folders:
        for path in _files_below(data / folder):
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                names.append(path.relative_to(data).as_posix())
                labels.append(index_of[folder])
            else:
                skipped.append(path)
    if not names:
        raise DataError(f"{data}: no file in it ends in {' '.join(suffixes)}", hint=_BOTH_FORMS)
    root = data.absolute()
    # Ids are written to JSON: bytes of a file name that are no valid Unicode become escapes.
    ids = tuple(os.fsencode(name).decode("utf-8", "backslashreplace") for name in names)
    return LabelledFiles(
        name=root.name,
        ids=ids,
        paths=tuple(root / name for name in names),
        labels=np.array(labels, dtype=np.int64),
        clusters=ids,
        splits=(None,) * len(names),
        skipped=tuple(skipped),
    )


def _check_folders(data: Path, folders: Sequence[str], loose: Sequence[str], student: Student) -> None:
    if not folders:
        raise DataError(f"{data}: has no sub-folder", hint=_BOTH_FORMS)
    for folder in folders:
        if folder not in student.labels:
            raise DataError(
                f"{data}: the sub-folder {folder!r} is none of the student's labels",
                hint=nearest(folder, student.labels),
            )
    readable = [name for name in loose if name.lower().endswith(readable_suffixes(student.spec))]
    if readable:
        more = f" and {len(readable) - _SHOWN} more" if len(readable) > _SHOWN else ""
        raise DataError(
            f"{data}: not in the sub-folder of a label: {', '.join(readable[:_SHOWN])}{more}",
            hint="put each file into the sub-folder of its label",
        )


def _entries(data: Path) -> tuple[list[str], list[str]]:
    """Give the names of the sub-folders and of the files, sorted; what is hidden is not there."""
    try:
        found = sorted((each for each in data.iterdir() if not each.name.startswith(".")), key=lambda each: each.name)
    except OSError as problem:
        raise DataError(f"{data}: cannot be searched: {problem.strerror}") from None
    return [each.name for each in found if each.is_dir()], [each.name for each in found if not each.is_dir()]


def _files_below(folder: Path) -> list[Path]:
    def refuse(problem: OSError) -> None:
        raise DataError(f"{problem.filename}: cannot be searched: {problem.strerror}")

    return sorted(Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names)
