"""From a bundle to an engine of this machine: find a library, build, check, keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mstedge.errors import BundleError, UsageError
from mstedge.manifest import SUMS_NAME
from mstedge.runtime.predictor import network_of
from mstedge.runtime.trt.making import keep_engine, made_engine
from mstedge.runtime.trt.private_files import locked
from mstedge.runtime.trt.store import BUILD_LOCK, engine_folder, read_timing_cache, write_copy

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.engine_build import EngineBuild
    from mstedge.engine_recipe import EngineRecipe
    from mstedge.runtime.backends.protocol import Network
    from mstedge.runtime.bundle import Bundle
    from mstedge.runtime.trt.library import TensorRt


@dataclass(frozen=True, slots=True)
class KeptEngine:
    """An engine in this machine's cache.

    Attributes:
        plan: Where it stands.
        record: What building it gave.
    """

    plan: Path
    record: EngineBuild


def require_engine_target(bundle: Bundle) -> EngineRecipe:
    """Give the recipe of a bundle that is for TensorRT.

    Raises:
        UsageError: It is for something else.
    """
    manifest = bundle.manifest
    if manifest.engine is None:
        raise UsageError(
            f"{bundle.folder}: is for the target {manifest.target!r}: only a bundle for 'trt' says how to build",
            hint="make one from the run: mstedge export RUN --target trt",
        )
    return manifest.engine


def require_place(output: Path, bundle: Bundle) -> None:
    """Refuse to write an engine into a bundle: it would be native code that travels.

    Raises:
        UsageError: The place lies inside a bundle, or is a folder.
    """
    if output.is_dir():
        raise UsageError(f"{output}: is a folder: expected the name of a file")
    folders = output.absolute().resolve().parents
    if bundle.folder.resolve() in folders or any((folder / SUMS_NAME).is_file() for folder in folders):
        raise UsageError(
            f"{output}: lies inside a bundle: engines are built for one machine and never travel in a bundle",
            hint="choose another place with -o",
        )


def make_engine(bundle: Bundle, library: TensorRt, *, output: Path | None = None) -> KeptEngine:
    """Build the engine of a bundle and keep it in this machine's cache.

    Args:
        bundle: A bundle for TensorRT.
        library: What builds.
        output: Where a copy shall stand; none for no copy.

    Raises:
        UsageError: The bundle is for something else, or a place cannot be written.
        BundleError: The library cannot parse the model, or finds something else in it than the manifest says.
        CheckFailedError: The model is not of the precision that the manifest claims.
        MachineError: The library cannot build here, or the cache is not safe.
    """
    recipe = require_engine_target(bundle)
    if output is not None:
        require_place(output, bundle)
    network = network_of_engine(bundle, recipe)
    folder = engine_folder()
    with locked(folder / BUILD_LOCK):
        try:
            made = made_engine(network, library, read_timing_cache(folder, library))
        except BundleError as problem:
            raise _refused(bundle, problem) from None
        plan = keep_engine(folder, library, made)
    if output is not None:
        write_copy(output, made.plan, made.record)
    return KeptEngine(plan=plan, record=made.record)


def network_of_engine(bundle: Bundle, recipe: EngineRecipe) -> Network:
    """Take the network out of a bundle, with all that building its engine needs."""
    manifest = bundle.manifest
    return replace(network_of(bundle), recipe=recipe, name=manifest.name, kept=len(manifest.kept))


def _refused(bundle: Bundle, problem: BundleError) -> BundleError:
    manifest, hint = bundle.manifest, problem.hint
    if manifest.quantisation is not None and manifest.quantisation.form == "uint8":
        hint = "its int8 graph has uint8 activations, which are for ONNX Runtime: export again with --target trt"
    return BundleError(f"{bundle.folder / manifest.model}: {problem.message}", hint=hint)
