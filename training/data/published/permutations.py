"""The 20 permutations that decide the published splits, and the 60/20/20 cut of one of them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError, nearest
from mstedge.training.data.published.columns import HINT
from mstedge.training.data.source import PARTS, PartName

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PERMUTATIONS = 20
# The public code seeds numpy's global generator with it before it draws (`indices_gen.py`).
_PUBLISHED_SEED = 19980427


def split_rows(rows: int, permutation: int, file: Path) -> dict[PartName, NDArray[np.int64]]:
    """Cut one permutation of the rows into 60 % training, 20 % validation, 20 % test.

    Args:
        rows: How many there are.
        permutation: Which of the permutations, from 0 on.
        file: The published table of permutations, read where it exists; else they are drawn as the public code draws.

    Raises:
        DataError: There is no such permutation, or the file is not a table of them.
    """
    order = read_permutation(file, rows, permutation) if file.is_file() else drawn_permutation(rows, permutation)
    cuts = [int(rows * 0.6), int(rows * 0.8)]
    return dict(zip(PARTS, np.split(order, cuts), strict=True))


def drawn_permutation(rows: int, permutation: int) -> NDArray[np.int64]:
    """Draw one of the 20 permutations: the same for the same number of rows, on every machine.

    Raises:
        DataError: `permutation` is not one of the 20.
    """
    if not 0 <= permutation < PERMUTATIONS:
        raise DataError(f"data.permutation is {permutation}: expected 0 to {PERMUTATIONS - 1}")
    generator = np.random.RandomState(_PUBLISHED_SEED)  # numpy keeps its draws as they are for ever
    for _ in range(permutation):
        generator.permutation(rows)
    return generator.permutation(rows).astype(np.int64)


def read_permutation(file: Path, rows: int, permutation: int) -> NDArray[np.int64]:
    """Read a column `group_<n>` of a table of permutations.

    Raises:
        DataError: There is no such column, or it does not name every row once.
    """
    name = f"group_{permutation}"
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            names = list(table.fieldnames or ())
            if name not in names:
                raise DataError(f"{file} has no column {name!r}, of data.permutation", hint=nearest(name, names))
            order = np.array([int(line[name]) for line in table], dtype=np.int64)
    except (ValueError, TypeError, csv.Error) as problem:
        raise DataError(f"{file}, column {name!r}: {problem}: expected row numbers", hint=HINT) from None
    if not np.array_equal(np.sort(order), np.arange(rows)):
        raise DataError(
            f"{file}, column {name!r}, has {len(order)} numbers: expected each row number below {rows} once",
            hint="was it made for these arrays? without the file the permutations are drawn",
        )
    return order
