"""From a network to its engine: this machine's cache, or a build, with the reason for it in one line."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mstedge.engine_build import EngineBuild
from mstedge.errors import MachineError, UsageError
from mstedge.runtime.trt.builder import build_engine
from mstedge.runtime.trt.engine_key import engine_key
from mstedge.runtime.trt.layers import count_dtypes, count_kinds
from mstedge.runtime.trt.private_files import locked
from mstedge.runtime.trt.store import (
    BUILD_LOCK,
    engine_folder,
    find_engine,
    read_timing_cache,
    write_engine,
    write_timing_cache,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mstedge.runtime.backends.protocol import Network
    from mstedge.runtime.trt.builder import BuiltEngine
    from mstedge.runtime.trt.library import TensorRt


@dataclass(frozen=True, slots=True)
class ReadyEngine:
    """An engine that fits this machine.

    Attributes:
        plan: The serialised engine.
        record: What building it gave.
        built_because: Why it was built just now; empty where the cache had it.
        notes: What took another way than it should.
    """

    plan: bytes
    record: EngineBuild
    built_because: str
    notes: tuple[str, ...] = ()


class MadeEngine(NamedTuple):
    """An engine that was just built.

    Attributes:
        plan: The serialised engine.
        record: What building it gave.
        timing_cache: What the build measured.
    """

    plan: bytes
    record: EngineBuild
    timing_cache: bytes


def ready_engine(
    network: Network, library: TensorRt, tell: Callable[[str], object], *, distrusted: str = ""
) -> ReadyEngine:
    """Take a network's engine from this machine's cache, or build it where the cache has none that fits.

    Args:
        network: An ONNX file that `check_onnx` has passed, with its recipe.
        library: What builds.
        tell: Told in one line why a build starts: it takes minutes.
        distrusted: Why what the cache has shall not be taken; empty where it may be.

    Raises:
        BundleError: The library cannot parse the graph, or finds other tensors in it than the manifest names.
        CheckFailedError: The graph is not of the precision that is claimed.
        MachineError: The library cannot build here, or the cache is not safe.
    """
    folder = engine_folder()
    key = engine_key(sha256_of(network.onnx), network.recipe, library)
    found = find_engine(folder, key)
    if found.plan is not None and found.record is not None and not distrusted:
        return ReadyEngine(found.plan, found.record, "")
    with ExitStack() as stack:
        notes = _lock_builds(stack, folder, tell)
        again = find_engine(folder, key)  # another process may have built it meanwhile
        if again.plan is not None and again.record is not None and again.plan != found.plan:
            return ReadyEngine(again.plan, again.record, "", notes)
        reason = distrusted or again.reason
        tell(f"building the engine with {library.title}: {reason}")
        made = made_engine(network, library, read_timing_cache(folder, library))
        try:
            keep_engine(folder, library, made)
        except (UsageError, MachineError) as problem:
            notes = (*notes, f"the engine cannot be kept and will be built again: {problem.message}")
            tell(notes[-1])
        return ReadyEngine(made.plan, made.record, reason, notes)


def made_engine(network: Network, library: TensorRt, timing_cache: bytes) -> MadeEngine:
    """Build an engine, from what earlier builds measured; see `build_engine` for the errors."""
    built = build_engine(library, network, network.recipe, timing_cache=timing_cache)
    return MadeEngine(built.plan, _record(built, network), built.timing_cache)


def keep_engine(folder: Path, library: TensorRt, made: MadeEngine) -> Path:
    """Write an engine, and what its build measured, to this machine's cache.

    Returns:
        Where it stands.

    Raises:
        UsageError: The cache cannot be written.
        MachineError: It cannot be locked.
    """
    write_timing_cache(folder, library, made.timing_cache)
    key = engine_key(made.record.model_sha256, made.record.recipe, library)
    return write_engine(folder, key, made.plan, made.record)


def sha256_of(model: bytes) -> str:
    """Digest a model as a bundle's list of files does."""
    return hashlib.sha256(model).hexdigest()


def _lock_builds(stack: ExitStack, folder: Path, tell: Callable[[str], object]) -> tuple[str, ...]:
    """Let one process build at a time: two would measure each other. On a disk that is read-only there is no lock."""
    try:
        lock = locked(folder / BUILD_LOCK, lambda: tell("another process is building an engine: waiting for it"))
        stack.enter_context(lock)
    except MachineError as problem:
        return (f"other processes may build at the same time: {problem.message}",)
    return ()


def _record(built: BuiltEngine, network: Network) -> EngineBuild:
    return EngineBuild(
        name=network.name,
        library=built.library.name,
        version=built.library.version,
        gpu=built.library.gpu,
        model_sha256=sha256_of(network.onnx),
        precision=network.precision,
        recipe=network.recipe,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        tensors=built.tensors,
        profile=built.profile,
        layers=count_kinds(built.layers),
        dtypes=count_dtypes(built.layers),
        weighted_layers=built.proof.weighted,
        proved_layers=built.proof.proved,
        notes=(*built.library.notes, *built.notes, *_notes_on_precision(built, network)),
        warnings=built.warnings,
        seconds=built.seconds,
        parity_reason=_why_pending(built.library),
    )


def _notes_on_precision(built: BuiltEngine, network: Network) -> tuple[str, ...]:
    """Tell of layers that stay in fp32 although the manifest does not name them."""
    left = built.proof.weighted - built.proof.proved
    if left <= network.kept:
        return ()
    kept = f"the manifest names {network.kept} that shall" if network.kept else "the manifest names none"
    return (f"{left} of {built.proof.weighted} layers with weights do not compute in {network.precision}: {kept}",)


def _why_pending(library: TensorRt) -> str:
    if library.gpu is None:
        return "no GPU here, so the engine cannot run"
    if library.name != "tensorrt":
        return "mstedge runs engines of TensorRT, not of TensorRT-RTX"
    return "compare it here: mstedge parity BUNDLE --backend tensorrt"
