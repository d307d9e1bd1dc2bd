"""Where engines are kept: in this machine's own cache, never in a bundle, and read by nobody but their owner.

An index names every engine with all that it depends on and with the digests of its files: a file that is not in it, or
is not what it says, is never loaded. The engines that were not used for longest go when the cache grows too large.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from mstedge.engine_build import EngineBuild
from mstedge.files import write_atomically
from mstedge.runtime.cache import cache_folder
from mstedge.runtime.trt.engine_key import EngineKey, why_none_fits, words_of
from mstedge.runtime.trt.private_files import locked, private_folder, read_private, write_private
from mstedge.schema import Record, encode_json

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.runtime.trt.library import TensorRt

LIMIT_BYTES = 4 << 30
_LARGEST_TIMING_CACHE_BYTES = 64 << 20
_LARGEST_INDEX_BYTES = 16 << 20
_LARGEST_RECORD_BYTES = 1 << 20
_INDEX, _LOCK, BUILD_LOCK = "index.json", "index.lock", "build.lock"
_OURS = re.compile(r"[0-9a-f]{64}\.plan(\.json)?")


class IndexEntry(Record, frozen=True, kw_only=True):
    """One engine of the cache.

    Attributes:
        key: What it depends on.
        plan_sha256: Digest of the serialised engine.
        plan_bytes: Its size.
        record_sha256: Digest of the record beside it.
    """

    key: EngineKey
    plan_sha256: str
    plan_bytes: int
    record_sha256: str


class EngineIndex(Record, frozen=True, kw_only=True):
    """All engines of the cache.

    Attributes:
        schema: Version of this format.
        engines: By the digest of their key.
    """

    engines: dict[str, IndexEntry]
    schema: Literal["mstedge.engines/1"] = "mstedge.engines/1"


class FoundEngine(NamedTuple):
    """What the cache has under a key.

    Attributes:
        plan: The serialised engine; none where there is none that can be trusted.
        record: What building it gave.
        reason: Why there is none; empty where there is one.
    """

    plan: bytes | None
    record: EngineBuild | None
    reason: str


def engine_folder() -> Path:
    """Find or make the private folder for engines.

    Raises:
        MachineError: It cannot be made, or it is not this user's alone.
    """
    return private_folder(cache_folder().expanduser().absolute() / "engines")


def find_engine(folder: Path, key: EngineKey) -> FoundEngine:
    """Read an engine, if it is there, whole, and what the index says; it counts as used then.

    Args:
        folder: What `engine_folder` gave.
        key: What the engine has to depend on.
    """
    index = _read_index(folder)
    if index is None:
        return FoundEngine(None, None, "the index of this machine's cache cannot be read")
    entry = index.engines.get(key.digest)
    if entry is None:
        return FoundEngine(None, None, why_none_fits(key, (each.key for each in index.engines.values())))
    path = plan_path(folder, key)
    plan = read_private(path, entry.plan_bytes)
    written = read_private(record_path(path), _LARGEST_RECORD_BYTES)
    if plan is None or written is None:
        return FoundEngine(None, None, "the engine in this machine's cache is gone, or others can write it")
    if (_sha256(plan), _sha256(written)) != (entry.plan_sha256, entry.record_sha256):
        return FoundEngine(None, None, "the engine in this machine's cache is damaged")
    try:
        record = msgspec.json.decode(written, type=EngineBuild)
    except msgspec.DecodeError:
        return FoundEngine(None, None, "the record of the engine in this machine's cache is of another version")
    with suppress(OSError):  # a cache that cannot be written can be read all the same
        os.utime(path)
    return FoundEngine(plan, record, "")


def write_engine(
    folder: Path, key: EngineKey, plan: bytes, record: EngineBuild, *, limit_bytes: int = LIMIT_BYTES
) -> Path:
    """Write an engine and its record under the key's name; an older one of that name is replaced.

    Args:
        folder: What `engine_folder` gave.
        key: What the engine depends on.
        plan: The serialised engine.
        record: What building it gave.
        limit_bytes: Most bytes of all engines together; this one stays, whatever its size.

    Returns:
        The path of the plan.

    Raises:
        UsageError: The folder cannot be written.
        MachineError: It cannot be locked.
    """
    path, written = plan_path(folder, key), encode_json(record)
    entry = IndexEntry(key=key, plan_sha256=_sha256(plan), plan_bytes=len(plan), record_sha256=_sha256(written))
    with locked(folder / _LOCK):
        known = _read_index(folder)
        # Until the index is written, the files that stand there now are not what it says: nobody takes them.
        write_private(path, plan)
        write_private(record_path(path), written)
        engines = {**(known.engines if known else {}), key.digest: entry}
        kept = _within(folder, engines, limit_bytes, newest=key.digest)
        write_private(folder / _INDEX, encode_json(EngineIndex(engines=kept)))
        _remove_others(folder, kept)
    return path


def plan_path(folder: Path, key: EngineKey) -> Path:
    """Give the path of an engine."""
    return folder / f"{key.digest}.plan"


def record_path(plan: Path) -> Path:
    """Give the path of the record that stands beside a plan."""
    return plan.with_name(f"{plan.name}.json")


def write_copy(path: Path, plan: bytes, record: EngineBuild) -> None:
    """Write an engine and its record where the user wants them, for other programs to read.

    Raises:
        UsageError: The place cannot be written.
    """
    write_atomically(path, plan)
    write_atomically(record_path(path), encode_json(record))


def read_timing_cache(folder: Path, library: TensorRt) -> bytes:
    """Read what earlier builds measured on this machine with this library; empty where there is nothing to trust."""
    return read_private(_timing_path(folder, library), _LARGEST_TIMING_CACHE_BYTES) or b""


def write_timing_cache(folder: Path, library: TensorRt, content: bytes) -> None:
    """Keep what a build measured; nothing is written where the library measures nothing."""
    if content and len(content) <= _LARGEST_TIMING_CACHE_BYTES:
        write_private(_timing_path(folder, library), content)


def _read_index(folder: Path) -> EngineIndex | None:
    """Read the index; an empty one where there is none yet, none where it cannot be trusted."""
    if not os.path.lexists(folder / _INDEX):
        return EngineIndex(engines={})
    content = read_private(folder / _INDEX, _LARGEST_INDEX_BYTES)
    try:
        return None if content is None else msgspec.json.decode(content, type=EngineIndex)
    except msgspec.DecodeError:
        return None


def _within(folder: Path, engines: dict[str, IndexEntry], limit_bytes: int, *, newest: str) -> dict[str, IndexEntry]:
    """Keep engines up to a size: the newest, then those that were used last."""
    kept, total = dict[str, IndexEntry](), 0
    for name in sorted(engines, key=lambda name: (name == newest, _last_use_ns(folder, name)), reverse=True):
        total += engines[name].plan_bytes
        if name == newest or total <= limit_bytes:
            kept[name] = engines[name]
    return kept


def _last_use_ns(folder: Path, name: str) -> int:
    with suppress(OSError):
        return (folder / f"{name}.plan").stat().st_mtime_ns
    return 0


def _remove_others(folder: Path, kept: dict[str, IndexEntry]) -> None:
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name.partition(".")[0] not in kept:
            with suppress(OSError):
                path.unlink()


def _timing_path(folder: Path, library: TensorRt) -> Path:
    name = _sha256(msgspec.json.encode((library.name, library.version, *words_of(library.gpu))))
    return folder / f"{name}.timing"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
