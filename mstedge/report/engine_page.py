"""The page of an engine that was built on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.engine_build import EngineBuild
from mstedge.manifest_words import engine_in_words
from mstedge.report.front_end import TIMES
from mstedge.report.page import Page
from mstedge.schema import read_json

if TYPE_CHECKING:
    from pathlib import Path


def engine_page(path: Path) -> Page:
    """Show what building an engine gave."""
    build = read_json(path, EngineBuild)
    values = {
        "build": build,
        "recipe": engine_in_words(build.recipe),
        "tensors": tuple((one, _sizes(one.shape)) for one in build.tensors),
        "shapes": tuple(_sizes(one) for one in (build.profile.smallest, build.profile.best, build.profile.largest)),
    }
    return Page("engine", f"Engine of {build.name}", values)


def _sizes(shape: tuple[int, ...]) -> str:
    return f" {TIMES} ".join("batch" if size < 0 else str(size) for size in shape)
