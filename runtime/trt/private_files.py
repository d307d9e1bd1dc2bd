"""Folders and files that belong to one user alone, and locks between processes.

An engine is native code: whoever can write it runs code as its owner. So every folder is checked before it is used, and
every file when it is opened: whose it is, who else may write, and that it is no link.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mstedge.errors import MachineError
from mstedge.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
ANOTHER_PLACE = "set MSTEDGE_CACHE to a folder that only you can write to"


def private_folder(folder: Path) -> Path:
    """Find or make a folder that nobody else can look into.

    Args:
        folder: Its parent exists, or is made; others may look into that, but not write.

    Raises:
        MachineError: It cannot be made, or it is not this user's alone.
    """
    try:
        folder.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
        _require_own(folder.parent, folder.parent.stat(), forbidden=0o022)
        _require_own(folder, folder.lstat(), forbidden=0o077)
    except OSError as problem:
        raise MachineError(f"{folder}: cannot be made: {problem.strerror}", hint=ANOTHER_PLACE) from None
    return folder


def read_private(path: Path, largest_bytes: int) -> bytes | None:
    """Read a file that is this user's alone.

    Returns:
        Its content; none where there is no such file, where it is a link, where it is somebody else's or others may
        write it, and where it is larger than it may be.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
        return stream.read() if own and found.st_size <= largest_bytes else None


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, whole or not at all.

    Raises:
        UsageError: The folder cannot be written.
    """
    write_atomically(path, content, mode=_PRIVATE_FILE)


@contextmanager
def locked(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Keep other processes and threads out of a block that takes the same lock; it ends with the process at latest.

    Args:
        path: The file that the lock is on; it is made, and stays.
        waiting: Told when somebody else has the lock.

    Raises:
        MachineError: The file cannot be made or locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE_FILE)
    except OSError as problem:
        raise MachineError(f"{path}: cannot be made: {problem.strerror}", hint=ANOTHER_PLACE) from None
    try:
        _lock(descriptor, path, waiting)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, waiting: Callable[[], object]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as problem:
        raise MachineError(f"{path}: cannot be locked: {problem.strerror}", hint=ANOTHER_PLACE) from None


def _require_own(folder: Path, found: os.stat_result, *, forbidden: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise MachineError(f"{folder}: is a link or a file: expected a folder of yours", hint=ANOTHER_PLACE)
    if found.st_uid != os.geteuid():
        raise MachineError(f"{folder}: belongs to user {found.st_uid}, not to you", hint=ANOTHER_PLACE)
    if rights := stat.S_IMODE(found.st_mode) & forbidden:
        raise MachineError(
            f"{folder}: others have the rights {rights:03o} there, and an engine is code that runs as you",
            hint=f"chmod 700 {folder}, or {ANOTHER_PLACE}",
        )
