"""What must hold between the rows of a manifest, for training and on a device alike."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Literal, TypeAlias

from mstedge.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mstedge.runtime.manifest_rows import ManifestRow

PartName: TypeAlias = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")


def check_ids(manifest: Path, rows: Sequence[ManifestRow]) -> None:
    """Make sure that an id names one row.

    Raises:
        DataError: Two rows share one; the message names both lines.
    """
    line_of: dict[str, int] = {}
    for row in rows:
        if row.id and line_of.setdefault(row.id, row.line) != row.line:
            raise DataError(f"{manifest}:{row.line}: the id {row.id!r} stands on line {line_of[row.id]} already")


def given_parts(manifest: Path, rows: Sequence[ManifestRow]) -> list[PartName]:
    """Read the part of each row of a manifest with a `split` column.

    Raises:
        DataError: A part is unknown, or a recording, a cluster or a group stands in two of them.
    """
    known: dict[str, PartName] = {part: part for part in PARTS}
    for row in rows:
        if row.split not in known:
            raise DataError(f"{manifest}:{row.line}: split is {row.split!r}", hint=nearest(row.split, PARTS))
    for inner in ("recording", "cluster", "group"):
        check_whole(manifest, rows, inner, "split")
    return [known[row.split] for row in rows]


def check_whole(manifest: Path, rows: Sequence[ManifestRow], inner: str, outer: str) -> None:
    """Make sure that rows which share an inner value share the outer one: a group lies in one part.

    Raises:
        DataError: An inner value stands in two outer ones; the message names both lines.
    """
    inner_of, outer_of = attrgetter(inner), attrgetter(outer)
    first: dict[str, ManifestRow] = {}
    for row in rows:
        other = first.setdefault(inner_of(row), row)
        if outer_of(other) != outer_of(row):
            raise DataError(
                f"{manifest}: the {inner} {inner_of(row)!r} stands in two {outer}s: {outer_of(other)!r} on line "
                f"{other.line}, {outer_of(row)!r} on line {row.line}",
                hint=f"a {inner} belongs to one {outer}; otherwise the test is on what was trained on",
            )
