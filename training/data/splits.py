"""Drawing a split where the manifest gives none: whole groups, about 60/20/20, each class in each part."""

from __future__ import annotations

import warnings
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TRAIN, VALIDATION, TEST = range(3)
_FOLDS = 5
_SMALLEST_GROUPS = 3
_DRAWS = 20
_HINT = "record more, or give the split in a column `split` (train, validation, test)"


def drawn_split(
    labels: NDArray[np.int64], groups: Sequence[str], *, class_names: Sequence[str], seed: int
) -> NDArray[np.int64]:
    """Assign each row to a part; rows of one group stay together.

    From five groups on, scikit-learn's stratified folds are drawn: one is the test part, one the validation part,
    three the training part. Three or four groups are folds themselves: one group is tested on, one validates.

    Args:
        labels: int64 [rows], class of each row, all labelled.
        groups: What each row belongs to.
        class_names: Names of the classes, for messages.
        seed: Decides the draw.

    Returns:
        int64 [rows] of 0 (train), 1 (validation), 2 (test), in the order of `PARTS`.

    Raises:
        DataError: There are too few groups, or of a class, for it to be in each part.
        MissingPackageError: scikit-learn is not installed.
    """
    units, group_of_row = np.unique(np.asarray(groups), return_inverse=True)
    _check_counts(labels, group_of_row, len(units), class_names)
    generator = np.random.default_rng([seed, 0x5B117])
    for _ in range(_DRAWS):
        folds = _folds(labels, group_of_row, generator)
        parts = _parts_from_folds(labels, folds, len(class_names), generator)
        if parts is not None:
            return parts
    raise DataError(
        f"no split of {len(units)} groups was found in {_DRAWS} draws that has each of the {len(class_names)} classes "
        "in each part",
        hint=_HINT,
    )


def _check_counts(
    labels: NDArray[np.int64], group_of_row: NDArray[np.intp], groups: int, class_names: Sequence[str]
) -> None:
    if groups < _SMALLEST_GROUPS:
        raise DataError(
            f"there are {groups} groups with labels: a split into three parts needs at least {_SMALLEST_GROUPS}",
            hint=_HINT,
        )
    pairs = np.unique(np.stack([labels, group_of_row.astype(np.int64)]), axis=1)
    groups_of_class = np.bincount(pairs[0], minlength=len(class_names))
    rare = int(groups_of_class.argmin())
    if groups_of_class[rare] < _SMALLEST_GROUPS:
        raise DataError(
            f"the class {class_names[rare]!r} is in {groups_of_class[rare]} of {groups} groups: to be in each part it "
            f"needs at least {_SMALLEST_GROUPS}",
            hint=_HINT,
        )


def _folds(
    labels: NDArray[np.int64], group_of_row: NDArray[np.intp], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Give each row a fold."""
    groups = int(group_of_row.max()) + 1
    if groups < _FOLDS:
        return group_of_row.astype(np.int64)
    try:
        from sklearn.model_selection import (  # noqa: PLC0415  heavy, and needed only where the split is drawn
            StratifiedGroupKFold,
            StratifiedKFold,
        )
    except ImportError:
        raise MissingPackageError("sklearn", purpose="drawing a split", extra="train") from None
    random_state = int(generator.integers(2**31))
    one_label = _label_of_group(labels, group_of_row)
    folds = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        # A class with fewer groups than folds is allowed: whether it is in each part is checked afterwards.
        warnings.simplefilter("ignore", UserWarning)
        if one_label is None:
            count = min(_FOLDS, int(np.bincount(labels).max()))
            drawn = StratifiedGroupKFold(count, shuffle=True, random_state=random_state)
            for fold, (_, rows) in enumerate(drawn.split(labels, labels, group_of_row)):
                folds[rows] = fold
            return folds
        # Groups of one class each may be many (every recording is one), and the other class takes 150 us for each.
        fold_of_group = np.zeros(groups, dtype=np.int64)
        plain = StratifiedKFold(min(_FOLDS, int(np.bincount(one_label).max())), shuffle=True, random_state=random_state)
        for fold, (_, members) in enumerate(plain.split(one_label, one_label)):
            fold_of_group[members] = fold
        return fold_of_group[group_of_row]


def _label_of_group(labels: NDArray[np.int64], group_of_row: NDArray[np.intp]) -> NDArray[np.int64] | None:
    """Give the label of each group, or none where a group holds several."""
    label_of_group = np.zeros(int(group_of_row.max()) + 1, dtype=np.int64)
    label_of_group[group_of_row] = labels
    return label_of_group if (label_of_group[group_of_row] == labels).all() else None


def _parts_from_folds(
    labels: NDArray[np.int64], folds: NDArray[np.int64], classes: int, generator: np.random.Generator
) -> NDArray[np.int64] | None:
    """Choose the test and the validation fold so that each class is in each part, or give up on these folds."""
    count = int(folds.max()) + 1
    present = np.zeros((count, classes), dtype=bool)
    present[folds, labels] = True
    choices = list(permutations(range(count), 2))
    for choice in generator.permutation(len(choices)):
        test, validation = choices[choice]
        train = np.delete(present, [test, validation], axis=0).any(axis=0)
        if (present[test] & present[validation] & train).all():
            return np.where(folds == test, TEST, np.where(folds == validation, VALIDATION, TRAIN)).astype(np.int64)
    return None
