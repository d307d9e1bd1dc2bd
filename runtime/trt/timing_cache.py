"""Tactics that one build measured, handed to the next one, where the library keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mstedge.engine_recipe import EngineRecipe
    from mstedge.runtime.trt.library import TensorRt

STALE = "the timing cache of earlier builds does not fit this machine: tactics were measured again"


def attach_timing_cache(
    library: TensorRt, config: Any, recipe: EngineRecipe, known: bytes
) -> tuple[Any, tuple[str, ...]]:
    """Give a builder's configuration a timing cache, if one is wanted and of use.

    Args:
        library: What builds; TensorRT-RTX measures when an engine is loaded, and its timing cache is an empty shell.
        config: An IBuilderConfig.
        recipe: Whether one is wanted.
        known: What an earlier build measured; empty for nothing.

    Returns:
        The ITimingCache, or none, and notes. The library reads it until the engine is built: keep it that long.
    """
    if not recipe.timing_cache or library.name != "tensorrt" or not hasattr(config, "create_timing_cache"):
        return None, ()
    cache = config.create_timing_cache(known)
    if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
        return cache, ()
    cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache, (STALE,)


def measured_tactics(cache: Any) -> bytes:
    """Serialise a timing cache after the build; empty where there is none."""
    return b"" if cache is None else bytes(cache.serialize())
