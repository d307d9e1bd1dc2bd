"""One modality of every row: mapped from its files, and read when a row is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mstedge.errors import DataError, SampleError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

HINT = "docs/data.md says what each file of a published layout holds"
_REAL_NUMBERS = "iuf"


class Column(Protocol):
    """One modality of every row."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample as a network sees it."""

    @property
    def picture(self) -> bool:
        """Whether samples are pictures: uint8 in the order red, green, blue."""

    def __len__(self) -> int:
        """Count the rows."""

    def where(self, row: int) -> str:
        """Say where a row stands, for messages."""

    def values(self, row: int) -> NDArray[Any]:
        """Read one row: an array of `shape`, or the pixels of a picture, [height, width, 3].

        Raises:
            SampleError: It cannot be read.
        """


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """Rows that stand in one array, or in several one after the other.

    Attributes:
        files: Where the arrays are from.
        arrays: [rows, ...] each.
        shape: Shape of one sample as a network sees it.
        axes: Order in which the axes of a stored row are taken.
        picture: Whether a row is a picture once its axes are in that order.
    """

    files: tuple[Path, ...]
    arrays: tuple[NDArray[Any], ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    picture: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.arrays))

    def where(self, row: int) -> str:
        """Say where a row stands, for messages."""
        position, inside = self._place(row)
        return f"{self.files[position]}, row {inside}"

    def values(self, row: int) -> NDArray[Any]:
        """Read one row."""
        position, inside = self._place(row)
        stored: NDArray[Any] = self.arrays[position][inside].transpose(self.axes)
        return stored if self.picture else stored.reshape(self.shape)

    def _place(self, row: int) -> tuple[int, int]:
        for position, array in enumerate(self.arrays):
            if row < len(array):
                return position, row
            row -= len(array)
        raise IndexError(row)


@dataclass(frozen=True, slots=True)
class FileColumn:
    """Rows that stand in a file each.

    Attributes:
        files: One .npy file per row.
        shape: Shape of one sample, that of the first file.
    """

    files: tuple[Path, ...]
    shape: tuple[int, ...]
    picture: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def where(self, row: int) -> str:
        """Say where a row stands, for messages."""
        return str(self.files[row])

    def values(self, row: int) -> NDArray[Any]:
        """Read one row.

        Raises:
            SampleError: The file is not what the first one was.
        """
        try:
            return np.array(opened_array(self.files[row]))
        except DataError as problem:
            raise SampleError(problem.message, hint=problem.hint) from None


def opened_array(path: Path, *shape: int | None) -> NDArray[Any]:
    """Map a .npy file of real numbers; nothing is unpickled, and nothing but its header read.

    Args:
        path: The file.
        shape: What its axes must be, none for any; left out where it may have any shape.

    Raises:
        DataError: It is no such file, or has another shape.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}", hint=HINT) from None
    except (ValueError, EOFError) as problem:
        raise DataError(f"{path} is not a .npy file of plain numbers: {first_line(problem)}", hint=HINT) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in _REAL_NUMBERS:
        raise DataError(f"{path} does not hold one array of real numbers", hint=HINT)
    if shape and not _fits(array.shape, shape):
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise DataError(f"{path} has the shape {list(array.shape)}: expected [{wanted}]", hint=HINT)
    return array


def flat_rows(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a .npy file whose rows hold as many numbers as a sample, whatever their axes.

    Raises:
        DataError: It is no such file.
    """
    array = opened_array(path)
    if array.ndim < 2 or math.prod(array.shape[1:]) != math.prod(shape):
        sides = " * ".join(map(str, shape))
        raise DataError(f"{path} has the shape {list(array.shape)}: expected rows of {sides} numbers", hint=HINT)
    return array.reshape(len(array), -1)


def class_labels(path: Path, array: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Read one label per row.

    Args:
        path: Where they are from.
        array: [rows] of whole numbers, of any type.
        classes: Number of classes.

    Raises:
        DataError: One is not a class.
    """
    if array.ndim != 1:
        raise DataError(f"{path} has the shape {list(array.shape)}: expected one label per row", hint=HINT)
    check_labels(path, array, classes)
    return array.astype(np.int64)


def check_labels(path: Path, values: NDArray[Any], classes: int, *, row: int | None = None) -> None:
    """Refuse values that are no class.

    Args:
        path: Where they are from.
        values: Any shape.
        classes: Number of classes.
        row: Which row they all belong to; none where each is a row of its own.

    Raises:
        DataError: One is not whole, or out of range.
    """
    wrong = (values < 0) | (values >= classes) | (values != np.floor(values))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path} has the label {values.flat[first]} in row {first if row is None else row}: expected whole numbers "
            f"from 0 to {classes - 1}",
            hint=HINT,
        )


def _fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(
        side is None or side == each for each, side in zip(found, wanted, strict=True)
    )
