"""What can be known to be wrong about rows before a network sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError
from mstedge.training.data.source import UNLABELLED

if TYPE_CHECKING:
    from mstedge.recipe import Recipe
    from mstedge.training.data.dataset import Dataset, Part

_LISTED_ROWS = 10


def check_rows(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse rows that cannot be trained on.

    Raises:
        DataError: A value is not finite, a label is not a class, a part has no label, the labelled training rows are of
            one class, or a batch is larger than the training part.
    """
    for name, part in dataset.parts.items():
        _check_labels(name, part, dataset.class_names)
        _check_values(name, part)
    train = dataset.parts["train"]
    kinds = np.unique(train.labels[train.labels != UNLABELLED]).tolist()
    if len(kinds) < 2:
        raise DataError(
            f"all labelled rows of the train part are of class {dataset.class_names[kinds[0]]!r}: expected two classes",
            hint="label rows of other classes, raise labels.fraction, or give the split another way",
        )
    if recipe.optimiser.batch_rows > train.rows:
        raise DataError(
            f"optimiser.batch_rows is {recipe.optimiser.batch_rows}: the train part has {train.rows} rows",
            hint=f"set optimiser.batch_rows to {train.rows} or less",
        )


def _check_labels(name: str, part: Part, classes: tuple[str, ...]) -> None:
    labelled = part.labels != UNLABELLED
    if not labelled.any():
        raise DataError(f"the {name} part has no labelled row", hint="label some rows, or give the split another way")
    wrong = labelled & ((part.labels < 0) | (part.labels >= len(classes)))
    if wrong.any():
        rows = np.flatnonzero(wrong.reshape(part.rows, -1).any(axis=1))
        raise DataError(
            f"the {name} part has the label {part.labels[wrong][0]} in {_listed(part, rows)}: "
            f"expected 0 to {len(classes) - 1}, one for each of the {len(classes)} classes"
        )


def _check_values(name: str, part: Part) -> None:
    for modality, values in part.features.items():
        # A sum in float64 that is finite proves that all values of the row are, without another array of their size.
        sums = values.reshape(part.rows, -1).sum(axis=1, dtype=np.float64)
        rows = np.flatnonzero(~np.isfinite(sums))
        if len(rows):
            raise DataError(f"the {name} part has values of {modality} that are not finite in {_listed(part, rows)}")


def _listed(part: Part, rows: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> str:
    names = ", ".join(part.ids[row] for row in rows[:_LISTED_ROWS])
    more = f" and {len(rows) - _LISTED_ROWS} more" if len(rows) > _LISTED_ROWS else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {names}{more}"
