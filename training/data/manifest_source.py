"""One's own data: the rows of a manifest as a source of paired recordings."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError, SampleError
from mstedge.runtime.manifest_checks import check_ids, check_whole, given_parts
from mstedge.runtime.manifest_rows import ManifestRow, lines_text, read_rows
from mstedge.runtime.preprocess import decode_file
from mstedge.training.data.source import PARTS, UNLABELLED, PartIndex, PartName, RawFile
from mstedge.training.data.splits import drawn_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mstedge.runtime.preprocess import Decoded
    from mstedge.specs import Spec

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_SHOWN_ROWS = 5


@dataclass(slots=True)
class ManifestSource:
    """Paired recordings that a manifest lists.

    Attributes:
        class_names: Names of the classes; numbers by value, then text in alphabetical order.
        licence: Terms of the recordings.
        shareable: Whether raw recordings may leave in a bundle.
        parts: Index of each part.
        left_out: Number of unlabelled rows in no part: their group is in the validation or the test part.
        manifest: The file; relative paths in it start at its folder.
        specs: Front end of each modality.
        rows: Rows of the manifest in each part.
    """

    class_names: tuple[str, ...]
    licence: str
    shareable: bool
    parts: dict[PartName, PartIndex]
    left_out: int
    manifest: Path
    specs: dict[str, Spec]
    rows: dict[PartName, tuple[ManifestRow, ...]]

    def path(self, part: PartName, modality: str, row: int) -> Path:
        """Give the file of one recording."""
        position = list(self.specs).index(modality)
        return self.manifest.parent / self.rows[part][row].files[position]

    def decoded(self, part: PartName, modality: str, row: int) -> Decoded:
        """Give one recording.

        Raises:
            SampleError: It cannot be read; the message names the file and the line of the manifest.
        """
        try:
            return decode_file(self.path(part, modality, row), self.specs[modality])
        except SampleError as problem:
            raise SampleError(f"{self._where(part, modality, row)}: {problem.message}", hint=problem.hint) from problem

    def raw_file(self, part: PartName, modality: str, row: int) -> RawFile:
        """Give one recording as the file that it is, for golden cases.

        Raises:
            SampleError: It cannot be read; the message names the file and the line of the manifest.
        """
        path = self.path(part, modality, row)
        try:
            return RawFile(path.suffix.lower(), path.read_bytes())
        except OSError as problem:
            where = self._where(part, modality, row)
            raise SampleError(f"{where}: {path}: cannot be read: {problem.strerror}") from problem

    def _where(self, part: PartName, modality: str, row: int) -> str:
        return f"{self.manifest}:{self.rows[part][row].line}: {modality}"


def manifest_source(
    path: Path,
    modalities: Mapping[str, Spec],
    *,
    student_modality: str,
    licence: str,
    shareable: bool,
    seed: int,
) -> ManifestSource:
    """Read a manifest, check it and split its rows.

    A row has a file per modality and, where wanted, a `label` (empty: unlabelled), `split`, `group` (what must not be
    split; default: the cluster), `cluster` (default: the student's file) and `id`. Without a `split` column the split
    is drawn; unlabelled rows are then for training only, and those of groups that are not trained on are left out.

    Args:
        path: A `.csv` or `.jsonl` file; relative paths in it start at its folder.
        modalities: Front end of each modality; the names are columns.
        student_modality: The one whose file tells recordings apart.
        licence: Terms of the recordings.
        shareable: Whether raw recordings may leave in a bundle.
        seed: Decides the split where the manifest has none.

    Raises:
        DataError: The manifest is broken, files do not exist, or the split is not one.
        MissingPackageError: A split must be drawn and scikit-learn is not installed.
    """
    rows = read_rows(path, list(modalities), student_modality)
    _check_files(path, rows, list(modalities))
    check_ids(path, rows)
    class_names = _class_names(path, rows)
    part_of_row = _given_parts(path, rows) if rows[0].split else _drawn_parts(path, rows, class_names, seed)
    members: dict[PartName, list[ManifestRow]] = {part: [] for part in PARTS}
    for row, place in zip(rows, part_of_row, strict=True):
        if place is not None:
            members[place].append(row)
    _check_classes_trained(path, members["train"], class_names)
    return ManifestSource(
        class_names=class_names,
        licence=licence,
        shareable=shareable,
        parts={part: _index(members[part], class_names) for part in PARTS},
        left_out=part_of_row.count(None),
        manifest=path,
        specs=dict(modalities),
        rows={part: tuple(members[part]) for part in PARTS},
    )


def _given_parts(path: Path, rows: Sequence[ManifestRow]) -> Sequence[PartName | None]:
    parts = given_parts(path, rows)
    unlabelled = [row.line for row in rows if row.split != "train" and not row.label]
    if unlabelled:
        raise DataError(
            f"{path}: no label on {lines_text(unlabelled)}, in the validation or the test part",
            hint="unlabelled rows belong to train",
        )
    return parts


def _drawn_parts(
    path: Path, rows: Sequence[ManifestRow], class_names: Sequence[str], seed: int
) -> list[PartName | None]:
    for inner in ("recording", "cluster"):
        check_whole(path, rows, inner, "group")
    label_of = {name: position for position, name in enumerate(class_names)}
    labelled = [row for row in rows if row.label]
    labels = np.array([label_of[row.label] for row in labelled], dtype=np.int64)
    drawn = drawn_split(labels, [row.group for row in labelled], class_names=class_names, seed=seed)
    part_of_group = {row.group: PARTS[part] for row, part in zip(labelled, drawn, strict=True)}
    parts: list[PartName | None] = []
    for row in rows:
        part = part_of_group.get(row.group, "train")
        parts.append(part if row.label or part == "train" else None)
    return parts


def _index(rows: Sequence[ManifestRow], class_names: Sequence[str]) -> PartIndex:
    label_of = {name: position for position, name in enumerate(class_names)}
    return PartIndex(
        labels=np.array([label_of.get(row.label, UNLABELLED) for row in rows], dtype=np.int64),
        ids=tuple(row.id for row in rows),
        clusters=tuple(row.cluster for row in rows),
    )


def _class_names(path: Path, rows: Sequence[ManifestRow]) -> tuple[str, ...]:
    names = {row.label for row in rows if row.label}
    if len(names) < 2:
        raise DataError(
            f"{path}: the labels are {sorted(names)}: expected at least two classes",
            hint="put the class of each row into a column `label`; unlabelled rows leave it empty",
        )
    return tuple(sorted(names, key=_label_order))


def _label_order(name: str) -> tuple[bool, float, str]:
    number = _NUMBER.fullmatch(name)
    return (number is None, float(name) if number else 0.0, name)


def _check_files(path: Path, rows: Sequence[ManifestRow], modalities: Sequence[str]) -> None:
    exists: dict[str, bool] = {}
    missing: list[tuple[int, str, str]] = []
    for row in rows:
        for modality, file in zip(modalities, row.files, strict=True):
            if file not in exists:
                exists[file] = os.path.isfile(path.parent / file)  # noqa: PTH113  a million rows: half the time
            if not exists[file]:
                missing.append((row.line, modality, file))
    if missing:
        lines = list(dict.fromkeys(line for line, _, _ in missing))[:_SHOWN_ROWS]
        shown = "".join(f"\n  line {line}: {name} {file!r}" for line, name, file in missing if line in lines)
        more = "\n  ..." if missing[-1][0] not in lines else ""
        raise DataError(
            f"{path}: {len(missing)} of {len(rows) * len(modalities)} files do not exist:{shown}{more}",
            hint=f"relative paths start at {path.parent}",
        )


def _check_classes_trained(path: Path, rows: Sequence[ManifestRow], class_names: Sequence[str]) -> None:
    trained = {row.label for row in rows}
    for name in class_names:
        if name not in trained:
            raise DataError(f"{path}: the class {name!r} has no row in the train part")
