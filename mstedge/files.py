"""Files that are written whole or not at all, and the digests that prove what they hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mstedge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 1 << 20
_AT_CURRENT_FOLDER = -100
_RENAME_EXCHANGE = 2


def sha256_of_file(path: Path) -> str:
    """Digest a file without loading it whole."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new, also after a crash.

    Args:
        path: Where it shall stand; its folder exists.
        content: All of it.
        mode: Its rights.

    Raises:
        UsageError: The folder does not exist or cannot be written.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be written: {problem.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException as problem:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(problem, OSError):
            raise UsageError(f"{path}: cannot be written: {problem.strerror}") from None
        raise
    _sync_folder(path.parent)


@contextmanager
def folder_written_atomically(target: Path) -> Iterator[Path]:
    """Give a temporary sibling folder that takes the target's place when the block ends without an error.

    Args:
        target: Where the folder shall stand; an old one is replaced, and kept if the block fails.

    Yields:
        The folder to fill.

    Raises:
        UsageError: The parent folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as problem:
        raise UsageError(f"{target}: cannot be written: {problem.strerror}") from None
    try:
        yield temporary
        _sync_tree(temporary)
        temporary.chmod(0o755)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(target.parent)


def _swap(new: Path, target: Path) -> None:
    """Move the new folder into place; the old one is there until that very moment."""
    if not target.exists():
        new.replace(target)
        return
    if _exchanged(new, target):  # the old folder is the temporary one now, and removed with it
        return
    aside = target.with_name(f".{target.name}.old-{os.getpid()}")
    target.replace(aside)
    try:
        new.replace(target)
    except OSError:
        aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two names change places in one step, where system and file system can (Linux, renameat2)."""
    import ctypes  # noqa: PLC0415  three milliseconds that only a writer pays

    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, TypeError, AttributeError):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return int(rename(_AT_CURRENT_FOLDER, names[0], _AT_CURRENT_FOLDER, names[1], _RENAME_EXCHANGE)) == 0


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
