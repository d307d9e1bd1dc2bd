"""From a bundle to an engine of this machine: find a library, build, check, keep."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.engine_build import EngineBuild
from mstedge.errors import BundleError, UsageError
from mstedge.manifest import SUMS_NAME
from mstedge.runtime.predictor import network_of
from mstedge.runtime.trt.builder import build_engine
from mstedge.runtime.trt.layers import count_dtypes, count_kinds
from mstedge.runtime.trt.store import (
    engine_folder,
    engine_key,
    read_timing_cache,
    write_copy,
    write_engine,
    write_timing_cache,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.engine_recipe import EngineRecipe
    from mstedge.manifest import Manifest
    from mstedge.runtime.bundle import Bundle
    from mstedge.runtime.trt.builder import BuiltEngine
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
    folder = engine_folder()
    built = _built(bundle, library, recipe, read_timing_cache(folder, library))
    model_sha256 = bundle.digests[bundle.manifest.model]
    record = _record(built, bundle.manifest, recipe, model_sha256)
    write_timing_cache(folder, library, built.timing_cache)
    plan = write_engine(folder, engine_key(model_sha256, recipe, library), built.plan, record)
    if output is not None:
        write_copy(output, built.plan, record)
    return KeptEngine(plan=plan, record=record)


def _built(bundle: Bundle, library: TensorRt, recipe: EngineRecipe, timing_cache: bytes) -> BuiltEngine:
    manifest = bundle.manifest
    try:
        return build_engine(library, network_of(bundle), recipe, timing_cache=timing_cache)
    except BundleError as problem:
        hint = problem.hint
        if manifest.quantisation is not None and manifest.quantisation.form == "uint8":
            hint = "its int8 graph has uint8 activations, which are for ONNX Runtime: export again with --target trt"
        raise BundleError(f"{bundle.folder / manifest.model}: {problem.message}", hint=hint) from None


def _record(built: BuiltEngine, manifest: Manifest, recipe: EngineRecipe, model_sha256: str) -> EngineBuild:
    return EngineBuild(
        name=manifest.name,
        library=built.library.name,
        version=built.library.version,
        gpu=built.library.gpu,
        model_sha256=model_sha256,
        precision=manifest.precision,
        recipe=recipe,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        tensors=built.tensors,
        profile=built.profile,
        layers=count_kinds(built.layers),
        dtypes=count_dtypes(built.layers),
        weighted_layers=built.proof.weighted,
        proved_layers=built.proof.proved,
        notes=(*built.library.notes, *built.notes, *_notes_on_precision(built, manifest)),
        warnings=built.warnings,
        seconds=built.seconds,
        parity_reason=_why_pending(built.library),
    )


def _notes_on_precision(built: BuiltEngine, manifest: Manifest) -> tuple[str, ...]:
    """Tell of layers that stay in fp32 although the manifest does not name them."""
    left = built.proof.weighted - built.proof.proved
    if left <= len(manifest.kept):
        return ()
    kept = f"the manifest names {len(manifest.kept)} that shall" if manifest.kept else "the manifest names none"
    return (f"{left} of {built.proof.weighted} layers with weights do not compute in {manifest.precision}: {kept}",)


def _why_pending(library: TensorRt) -> str:
    if library.gpu is None:
        return "no GPU here, so the engine cannot run"
    return "running engines comes with the tensorrt backend"
