"""Reading a manifest: one row of text values at a time, with the line of the file that it stands on."""

from __future__ import annotations

import csv
import difflib
import posixpath
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mstedge.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

RESERVED_COLUMNS = ("label", "split", "group", "cluster", "id")
_ALL_OR_NONE = RESERVED_COLUMNS[1:]
_MAX_LINE_BYTES = 1 << 20
_SHOWN_LINES = 5
_MISSPELT = 0.8


@dataclass(frozen=True, slots=True)
class Record:
    """One row as written.

    Attributes:
        line: Line of the file that it stands on (the last one, if a quoted value spans several), from 1.
        values: Value of each column, without white space around it; empty where there is none.
    """

    line: int
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row, checked, with what it leaves open filled in.

    Attributes:
        line: Line of the file that it stands on.
        files: What the manifest says is the file of each modality, in the order that was asked for.
        recording: The student's file.
        label: Class, or empty.
        split: Part of the split, or empty where the manifest has none.
        group: What must not be split; the cluster where the manifest has no groups.
        cluster: What counts as one unit in statistics; the recording where the manifest has no clusters.
        id: Name of the row.
    """

    line: int
    files: tuple[str, ...]
    recording: str
    label: str
    split: str
    group: str
    cluster: str
    id: str


def records(manifest: Path) -> Iterator[Record]:
    """Read a CSV or JSONL manifest row by row.

    Args:
        manifest: A `.csv` file whose first line names the columns, or a `.jsonl` file with one object per line; UTF-8.

    Raises:
        DataError: The file cannot be read, or a line is broken; the message names the line.
    """
    readers = {".csv": _csv_records, ".jsonl": _jsonl_records}
    reader = readers.get(manifest.suffix.lower())
    if reader is None:
        raise DataError(f"{manifest}: a manifest ends in .csv or .jsonl, not {manifest.suffix!r}")
    yield from reader(manifest)


def read_rows(
    manifest: Path, modalities: Sequence[str], student_modality: str, *, others_allowed: bool = False
) -> list[ManifestRow]:
    """Read all rows and check their columns.

    Args:
        manifest: A `.csv` or `.jsonl` file.
        modalities: Columns that hold a file.
        student_modality: The one whose file tells recordings apart.
        others_allowed: Whether there may be further columns, of sensors that the reader does not have; one that looks
            like a misspelt known column is refused all the same.

    Raises:
        DataError: A column is missing, unknown or filled in some rows only; the message names lines.
    """
    reserved = sorted(set(modalities) & set(RESERVED_COLUMNS))
    if reserved:
        raise DataError(f"{reserved[0]!r} cannot be the name of a modality: that column has a meaning of its own")
    known = {*modalities, *RESERVED_COLUMNS}
    student = list(modalities).index(student_modality)
    rows: list[ManifestRow] = []
    empty: dict[str, list[int]] = {column: [] for column in _ALL_OR_NONE}
    for record in records(manifest):
        if not rows:
            _check_modalities_present(manifest, record, modalities)
        for column in record.values.keys() - known:
            if not others_allowed or _looks_misspelt(column, record):
                raise _unknown_column(manifest, record.line, column, modalities)
        for column, lines in empty.items():
            if not record.values.get(column):
                lines.append(record.line)
        rows.append(_row(manifest, record, modalities, student))
    _check_filled(manifest, len(rows), empty)
    return rows


def lines_text(lines: Iterable[int]) -> str:
    """Name the first few lines of many: `line 3`, `lines 3, 4, 8, 9, 12 and 7 more`."""
    known = list(lines)
    shown = ", ".join(map(str, known[:_SHOWN_LINES]))
    more = f" and {len(known) - _SHOWN_LINES} more" if len(known) > _SHOWN_LINES else ""
    return f"line{'s' if len(known) > 1 else ''} {shown}{more}"


def _row(manifest: Path, record: Record, modalities: Sequence[str], student: int) -> ManifestRow:
    value = record.values.get
    files = tuple(value(modality, "") for modality in modalities)
    if "" in files:
        raise DataError(
            f"{manifest}:{record.line}: no file for {modalities[files.index('')]!r}",
            hint="a row has a file of each modality; only the label may be missing",
        )
    recording = posixpath.normpath(files[student])
    cluster = value("cluster") or recording
    return ManifestRow(
        line=record.line,
        files=files,
        recording=recording,
        # Few different values in many rows: interning keeps a million rows small.
        label=sys.intern(value("label", "")),
        split=sys.intern(value("split", "")),
        group=sys.intern(value("group") or cluster),
        cluster=cluster,
        id=value("id") or f"{record.line}-{posixpath.basename(recording)}",
    )


def _check_modalities_present(manifest: Path, record: Record, modalities: Sequence[str]) -> None:
    for modality in modalities:
        if modality not in record.values:
            columns = record.values.keys() - {*modalities, *RESERVED_COLUMNS}
            raise DataError(
                f"{manifest}: has no column {modality!r} with the files of that modality",
                hint=nearest(modality, columns or record.values.keys()),
            )


def _looks_misspelt(column: str, record: Record) -> bool:
    """Tell `lable`, which would silently take the labels away, from the column of another sensor."""
    absent = [known for known in RESERVED_COLUMNS if known not in record.values]
    return bool(difflib.get_close_matches(column.lower(), absent, n=1, cutoff=_MISSPELT))


def _unknown_column(manifest: Path, line: int, column: str, modalities: Sequence[str]) -> DataError:
    return DataError(
        f"{manifest}:{line}: column {column!r} is neither a modality that is asked for nor a known column",
        hint=nearest(column, [*modalities, *RESERVED_COLUMNS]) + "; or leave the column out",
    )


def _check_filled(manifest: Path, rows: int, empty: dict[str, list[int]]) -> None:
    if not rows:
        raise DataError(f"{manifest}: holds no rows")
    for column, lines in empty.items():
        if lines and len(lines) < rows:
            raise DataError(
                f"{manifest}: column {column!r} is empty on {lines_text(lines)}",
                hint="fill it in every row or in none",
            )


def _lines(manifest: Path) -> Iterator[tuple[int, str]]:
    """Read lines with their numbers; a file without line ends is not read whole."""
    try:
        with manifest.open("rb") as stream:
            for number, raw in enumerate(iter(lambda: stream.readline(_MAX_LINE_BYTES + 1), b""), 1):
                yield number, _decoded_line(f"{manifest}:{number}", raw, "utf-8-sig" if number == 1 else "utf-8")
    except OSError as problem:
        raise DataError(f"{manifest}: cannot be read: {problem.strerror}") from None


def _decoded_line(where: str, raw: bytes, encoding: str) -> str:
    if len(raw) > _MAX_LINE_BYTES:
        raise DataError(f"{where}: a line longer than {_MAX_LINE_BYTES} bytes: this is no manifest")
    if b"\0" in raw:
        raise DataError(f"{where}: holds a NUL byte", hint="save the manifest as UTF-8 text")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as problem:
        bad = raw[problem.start : problem.start + 1].hex()
        raise DataError(f"{where}: the byte 0x{bad} is not UTF-8", hint="save the manifest as UTF-8 text") from None


def _csv_records(manifest: Path) -> Iterator[Record]:
    reader = csv.reader((text for _, text in _lines(manifest)), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not cells:
                continue
            if not header:
                header = _checked_header(manifest, values)
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{manifest}:{reader.line_num}: has {len(values)} values, but there are {len(header)} columns",
                    hint="quote a value that holds a comma",
                )
            yield Record(reader.line_num, dict(zip(header, values, strict=True)))
    except csv.Error as problem:
        raise DataError(f"{manifest}:{reader.line_num}: not CSV: {problem}") from None


def _checked_header(manifest: Path, header: list[str]) -> list[str]:
    for column in header:
        if not column:
            raise DataError(f"{manifest}: column {header.index(column) + 1} has no name")
        if header.count(column) > 1:
            raise DataError(f"{manifest}: there are {header.count(column)} columns {column!r}")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise DataError(
            f"{manifest}: the columns are {header[0]!r}: expected commas between them",
            hint="save the manifest as CSV with commas",
        )
    return header


def _jsonl_records(manifest: Path) -> Iterator[Record]:
    for number, text in _lines(manifest):
        if text.strip():
            yield Record(number, _values(f"{manifest}:{number}", text))


def _values(where: str, text: str) -> dict[str, str]:
    try:
        document: Any = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise DataError(f"{where}: not JSON: {problem}", hint="one object per line") from None
    if not isinstance(document, dict):
        raise DataError(f"{where}: is not an object", hint='a row looks like {"sound": "a.wav", "label": "yes"}')
    return {key: _text(where, key, value) for key, value in document.items()}


def _text(where: str, key: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise DataError(f"{where}: {key} is {value!r}: expected text or a whole number")
    text = str(value).strip()
    if "\0" in text:
        raise DataError(f"{where}: {key} holds a NUL byte")
    return text
