"""Where engines are kept: in this machine's own cache, never in a bundle, and read by nobody but their owner.

An engine is native code. Whoever can write here can run code as its owner, so the folder is private and is checked to
be before anything is written.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

import msgspec

from mstedge.engine_build import LibraryName
from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import MachineError
from mstedge.files import write_atomically
from mstedge.runtime.cache import cache_folder
from mstedge.schema import Record, encode_json

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.engine_build import EngineBuild, Gpu
    from mstedge.runtime.trt.library import TensorRt

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_LARGEST_TIMING_CACHE_BYTES = 64 << 20
_ANOTHER_PLACE = "set MSTEDGE_CACHE to a folder that only you can write to"


class EngineKey(Record, frozen=True, kw_only=True):
    """What an engine depends on; if any of it is another, so is the engine.

    Attributes:
        model_sha256: Digest of the ONNX file.
        recipe: How it is built.
        library: What builds it.
        version: Version of that.
        gpu: Name of the GPU, or `none`.
        compute_capability: Its architecture, or `none`.
    """

    model_sha256: str
    recipe: EngineRecipe
    library: LibraryName
    version: str
    gpu: str
    compute_capability: str


def engine_key(model_sha256: str, recipe: EngineRecipe, library: TensorRt) -> EngineKey:
    """Name an engine before it is built."""
    name, compute_capability = _words_of(library.gpu)
    return EngineKey(
        model_sha256=model_sha256,
        recipe=recipe,
        library=library.name,
        version=library.version,
        gpu=name,
        compute_capability=compute_capability,
    )


def engine_folder() -> Path:
    """Find or make the private folder for engines.

    Raises:
        MachineError: It cannot be made, or it is not this user's alone.
    """
    cache = cache_folder().expanduser().absolute()
    folder = cache / "engines"
    try:
        cache.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
        _require_own(cache, cache.stat(), forbidden=0o022)
        _require_own(folder, folder.lstat(), forbidden=0o077)
    except OSError as problem:
        raise MachineError(f"{folder}: cannot be made: {problem.strerror}", hint=_ANOTHER_PLACE) from None
    return folder


def write_engine(folder: Path, key: EngineKey, plan: bytes, record: EngineBuild) -> Path:
    """Write an engine and its record under the key's name; an older one of that name is replaced.

    Args:
        folder: What `engine_folder` gave.
        key: What the engine depends on.
        plan: The serialised engine.
        record: What building it gave.

    Returns:
        The path of the plan.

    Raises:
        UsageError: The folder cannot be written.
    """
    path = folder / f"{_digest(key)}.plan"
    write_atomically(path, plan, mode=_PRIVATE_FILE)
    # The record comes second: a plan without one, or beside an older one, is never taken for whole.
    write_atomically(record_path(path), encode_json(record), mode=_PRIVATE_FILE)
    return path


def write_copy(path: Path, plan: bytes, record: EngineBuild) -> None:
    """Write an engine and its record where the user wants them, for other programs to read.

    Raises:
        UsageError: The place cannot be written.
    """
    write_atomically(path, plan)
    write_atomically(record_path(path), encode_json(record))


def record_path(plan: Path) -> Path:
    """Give the path of the record that stands beside a plan."""
    return plan.with_name(f"{plan.name}.json")


def read_timing_cache(folder: Path, library: TensorRt) -> bytes:
    """Read what earlier builds measured on this machine with this library; empty where there is nothing to trust."""
    try:
        descriptor = os.open(_timing_path(folder, library), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        return stream.read() if own and found.st_size <= _LARGEST_TIMING_CACHE_BYTES else b""


def write_timing_cache(folder: Path, library: TensorRt, content: bytes) -> None:
    """Keep what a build measured; nothing is written where the library measures nothing."""
    if content and len(content) <= _LARGEST_TIMING_CACHE_BYTES:
        write_atomically(_timing_path(folder, library), content, mode=_PRIVATE_FILE)


def _timing_path(folder: Path, library: TensorRt) -> Path:
    return folder / f"{_digest((library.name, library.version, *_words_of(library.gpu)))}.timing"


def _words_of(gpu: Gpu | None) -> tuple[str, str]:
    return ("none", "none") if gpu is None else (gpu.name, gpu.compute_capability)


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()


def _require_own(folder: Path, found: os.stat_result, *, forbidden: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise MachineError(f"{folder}: is a link or a file: expected a folder of yours", hint=_ANOTHER_PLACE)
    if found.st_uid != os.geteuid():
        raise MachineError(f"{folder}: belongs to user {found.st_uid}, not to you", hint=_ANOTHER_PLACE)
    if rights := stat.S_IMODE(found.st_mode) & forbidden:
        raise MachineError(
            f"{folder}: others have the rights {rights:03o} there, and an engine is code that runs as you",
            hint=f"chmod 700 {folder}, or {_ANOTHER_PLACE}",
        )
