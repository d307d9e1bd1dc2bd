"""A published dataset as a source of paired rows, split as one of the published permutations says."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError, nearest
from mstedge.runtime.preprocess import Decoded, decoded_from_array
from mstedge.specs import ArraySpec, ImageSpec
from mstedge.training.data.published.layouts import LAYOUTS, Layout
from mstedge.training.data.published.permutations import split_rows
from mstedge.training.data.raw_files import png_from_rgb
from mstedge.training.data.source import PARTS, PartIndex, PartName, RawFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mstedge.recipe_data import PublishedData
    from mstedge.specs import Spec
    from mstedge.training.data.published.columns import Column


@dataclass(frozen=True, slots=True)
class PublishedSource:
    """Rows of a published dataset.

    Attributes:
        class_names: Names of the classes.
        licence: Whose terms hold.
        parts: Index of each part.
        columns: One modality of every row each.
        rows: Which rows a part has, in its order.
        shareable: Recordings of people, or of others' making, stay where they are.
    """

    class_names: tuple[str, ...]
    licence: str
    parts: dict[PartName, PartIndex]
    columns: Mapping[str, Column]
    rows: Mapping[PartName, NDArray[np.int64]]
    shareable: bool = False

    def decoded(self, part: PartName, modality: str, row: int) -> Decoded:
        """Give one row of one modality.

        Raises:
            SampleError: It cannot be read, has another shape than the first, or values that are not finite; the message
                names file and row.
        """
        column, stored = self.columns[modality], int(self.rows[part][row])
        values = column.values(stored)
        if column.picture:
            return Decoded(values, colour="rgb")
        return decoded_from_array(values, ArraySpec(shape=column.shape), source=column.where(stored))

    def raw_file(self, part: PartName, modality: str, row: int) -> RawFile:
        """Give one row of one modality as a file: .npy, or .png of a picture.

        Raises:
            SampleError: As for `decoded`.
        """
        values = self.decoded(part, modality, row).values
        if self.columns[modality].picture:
            return RawFile(".png", png_from_rgb(values))
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        return RawFile(".npy", stream.getvalue())


def published_source(data: PublishedData, modalities: Mapping[str, Spec]) -> PublishedSource:
    """Map the files of a published layout, check them and split their rows.

    Headers, labels and the presence of every file are checked; nothing else is read.

    Args:
        data: Which layout, where it lies, and which permutation splits it.
        modalities: Front end of each modality: arrays of the stored shape, or pictures of the stored size.

    Raises:
        DataError: Files are missing or hold something else, or the recipe asks for what the layout does not have.
    """
    layout, folder = LAYOUTS[data.layout], Path(data.path)
    _check_present(folder, data.layout, layout)
    contents = layout.read(folder)
    for name, spec in modalities.items():
        if name not in contents.columns:
            raise DataError(
                f"the layout {data.layout!r} has no modality {name!r}", hint=nearest(name, contents.columns)
            )
        _check_spec(name, spec, contents.columns[name])
    rows = split_rows(len(contents.labels), data.permutation, folder / f"{layout.dataset}_indices.csv")
    ids = contents.ids or tuple(f"row{row:05d}" for row in range(len(contents.labels)))
    parts: dict[PartName, PartIndex] = {}
    for part in PARTS:
        named = tuple(ids[row] for row in rows[part].tolist())
        parts[part] = PartIndex(contents.labels[rows[part]], named, named)
    licence = f"terms of {layout.dataset}, which come with the dataset"
    return PublishedSource(layout.class_names, licence, parts, contents.columns, rows)


def _check_present(folder: Path, name: str, layout: Layout) -> None:
    missing = [f"\n  {file}: {holds}" for file, holds in layout.files.items() if not (folder / file).exists()]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of the {len(layout.files)} files and folders of the layout {name!r} "
            f"do not exist:{''.join(missing)}",
            hint=f"put them there, or say where they are: --set data.path=FOLDER (docs/data.md, {layout.dataset})",
        )


def _check_spec(name: str, spec: Spec, column: Column) -> None:
    kind, wanted = ("image", ImageSpec) if column.picture else ("array", ArraySpec)
    if not isinstance(spec, wanted):
        raise DataError(f"modalities.{name} has another kind: expected {kind}, as {column.where(0)} is one")
    if spec.feature_shape != column.shape:
        raise DataError(
            f"modalities.{name} says the shape {list(spec.feature_shape)}: {column.where(0)} has {list(column.shape)}",
            hint="the recipe must say the shape that is stored: nothing is cut or resized",
        )
