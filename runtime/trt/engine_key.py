"""What an engine depends on, and what to say when any of it has changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from mstedge.engine_build import LibraryName
from mstedge.engine_recipe import EngineRecipe
from mstedge.schema import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mstedge.engine_build import Gpu
    from mstedge.runtime.trt.library import TensorRt

_TITLES = {
    "library": "the library",
    "version": "its version",
    "gpu": "the GPU",
    "compute_capability": "its compute capability",
    "driver": "the driver",
}


class EngineKey(Record, frozen=True, kw_only=True):
    """What an engine depends on; if any of it is another, so is the engine.

    Attributes:
        model_sha256: Digest of the ONNX file.
        recipe: How it is built.
        library: What builds it.
        version: Version of that.
        gpu: Name of the GPU, or `none`.
        compute_capability: Its architecture, or `none`.
        driver: Its driver, or on a Jetson the release of Jetson Linux.
    """

    model_sha256: str
    recipe: EngineRecipe
    library: LibraryName
    version: str
    gpu: str
    compute_capability: str
    driver: str

    @property
    def digest(self) -> str:
        """The name that it gives to an engine's files."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def engine_key(model_sha256: str, recipe: EngineRecipe, library: TensorRt) -> EngineKey:
    """Name an engine before it is built."""
    name, compute_capability = words_of(library.gpu)
    return EngineKey(
        model_sha256=model_sha256,
        recipe=recipe,
        library=library.name,
        version=library.version,
        gpu=name,
        compute_capability=compute_capability,
        driver=library.driver,
    )


def words_of(gpu: Gpu | None) -> tuple[str, str]:
    """Name a GPU and its architecture."""
    return ("none", "none") if gpu is None else (gpu.name, gpu.compute_capability)


def why_none_fits(wanted: EngineKey, known: Iterable[EngineKey]) -> str:
    """Say in one line why no engine of the cache is the one that is wanted.

    Args:
        wanted: What is needed now.
        known: What the engines of the cache depend on.
    """
    same_model = [key for key in known if key.model_sha256 == wanted.model_sha256]
    if not same_model:
        return "there is no engine of this model in this machine's cache yet"
    changes = min((tuple(_changes(key, wanted)) for key in same_model), key=len)
    return f"the engine in this machine's cache is for something else: {'; '.join(changes)}"


def _changes(old: EngineKey, new: EngineKey) -> Iterator[str]:
    for field, title in _TITLES.items():
        before, now = getattr(old, field), getattr(new, field)
        if before != now:
            yield f"{title} was {before}, is {now}"
    for field in EngineRecipe.__struct_fields__:
        before, now = getattr(old.recipe, field), getattr(new.recipe, field)
        if before != now:
            yield f"{field} was {before}, is {now}"
