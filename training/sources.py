"""From the `data` part of a recipe to rows: the one place that knows every kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mstedge.recipe import Recipe
from mstedge.recipe_data import DigitsData, ManifestData, PublishedData
from mstedge.training.data.dataset import Dataset, build_dataset, half_of_memory
from mstedge.training.data.digits_source import DigitsSource
from mstedge.training.data.manifest_source import manifest_source
from mstedge.training.data.published.source import published_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from mstedge.training.data.source import Source


def open_source(recipe: Recipe) -> Source:
    """Open the rows that a recipe names.

    Raises:
        DataError: They do not have what the recipe asks for.
    """
    data = recipe.data
    if isinstance(data, DigitsData):
        return DigitsSource(recipe.student.modality, partners=data.partners, snr_db=data.snr_db, seed=recipe.seed)
    if isinstance(data, ManifestData):
        return manifest_source(
            Path(data.path),
            recipe.modalities,
            student_modality=recipe.student.modality,
            licence=data.licence,
            shareable=data.shareable,
            seed=recipe.seed,
        )
    if isinstance(data, PublishedData):
        return published_source(data, recipe.modalities)
    from mstedge.training.data.mfeat_source import mfeat_source  # noqa: PLC0415  only its own recipes need it

    path = None if data.path is None else Path(data.path)
    return mfeat_source(path, recipe.modalities, permutation=data.permutation, seed=recipe.seed)


def load_dataset(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Build the features of all rows that a recipe names.

    Args:
        recipe: The recipe.
        progress: Called with recordings read and recordings in all.
    """
    return build_dataset(
        open_source(recipe),
        recipe.modalities,
        labelled_fraction=recipe.labels.fraction,
        seed=recipe.seed,
        most_bytes=0 if recipe.engine.data == "mapped" else half_of_memory() // recipe.engine.devices,
        progress=progress,
    )
