"""What a folder holds, looked at without following or opening anything; and reading one of its files."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mstedge.errors import BundleError
from mstedge.manifest import (
    CALIBRATION_NAME,
    GOLDEN_CASES_NAME,
    IR_NAME,
    MANIFEST_NAME,
    PARITY_REPORT_NAME,
    PARITY_ROWS_NAME,
    SIGNATURE_NAME,
    SUMS_NAME,
)
from mstedge.runtime.bundle.paths import check_collisions, check_name

MIB = 1 << 20
MAX_FILES = 10_000
MAX_TOTAL_BYTES = 2048 * MIB
MAX_FILE_BYTES = 768 * MIB
MAX_BYTES_OF = {
    MANIFEST_NAME: MIB,
    SUMS_NAME: 4 * MIB,
    SIGNATURE_NAME: 1024,
    GOLDEN_CASES_NAME: 8 * MIB,
    PARITY_REPORT_NAME: 8 * MIB,
    PARITY_ROWS_NAME: 64 * MIB,
    CALIBRATION_NAME: 8 * MIB,
    IR_NAME: 64 * MIB,
}
DAMAGED = "the bundle is damaged or was changed: export it again or get it again"
_CHUNK_BYTES = MIB
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def list_files(folder: Path) -> dict[str, int]:
    """List the files below a folder with their sizes in bytes, from lstat alone.

    Args:
        folder: The bundle.

    Returns:
        Sizes by name relative to the folder, sorted; SHA256SUMS and SIGNATURE are among them.

    Raises:
        BundleError: Something is not a plain file of its own, has a forbidden name, or breaks a limit.
    """
    sizes: dict[str, int] = {}
    for count, (name, status) in enumerate(_walk(folder, "")):
        if count >= MAX_FILES:
            raise BundleError(f"{folder}: holds more than {MAX_FILES} files and folders", hint=DAMAGED)
        if not stat.S_ISDIR(status.st_mode):
            sizes[name] = _size_of_plain_file(folder, name, status)
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        raise BundleError(
            f"{folder}: holds {sum(sizes.values())} bytes: expected at most {MAX_TOTAL_BYTES}", hint=DAMAGED
        )
    check_collisions(sizes, source=str(folder))
    return dict(sorted(sizes.items()))


def max_bytes(name: str) -> int:
    """Give the largest size that a file of a bundle may have."""
    return MAX_BYTES_OF.get(name, MAX_FILE_BYTES)


def read_file(folder: Path, name: str) -> bytes:
    """Read a file whole, within the limit for its name.

    Raises:
        BundleError: It is not a plain file of its own any more, or breaks its limit.
    """
    return b"".join(_chunks(folder, name))


def read_start(folder: Path, name: str) -> bytes:
    """Read a file's first bytes, up to a mebibyte of them, within the limit for its name.

    Raises:
        BundleError: It is not a plain file of its own any more, or breaks its limit.
    """
    return next(_chunks(folder, name), b"")


def sha256_of(folder: Path, name: str) -> str:
    """Digest a file without holding it in memory.

    Raises:
        BundleError: It is not a plain file of its own any more, or breaks its limit.
    """
    digest = hashlib.sha256()
    for chunk in _chunks(folder, name):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(folder: Path, name: str) -> Iterator[bytes]:
    left = max_bytes(name)
    try:
        with open(os.open(folder / name, _OPEN_FLAGS), "rb", buffering=0) as stream:  # noqa: PTH123  a descriptor
            _size_of_plain_file(folder, name, os.fstat(stream.fileno()))
            while chunk := stream.read(min(_CHUNK_BYTES, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise _too_large(folder, name, "more")
                yield chunk
    except OSError as problem:
        raise BundleError(f"{folder / name}: cannot be read: {problem.strerror}", hint=DAMAGED) from None


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every entry below; names are checked before a folder is entered, so that depth is bounded."""
    try:
        with os.scandir(folder / prefix) as listing:
            entries = sorted(itertools.islice(listing, MAX_FILES + 1), key=lambda entry: entry.name)
    except OSError as problem:
        raise BundleError(f"{folder / prefix}: cannot be listed: {problem.strerror}", hint=DAMAGED) from None
    for entry in entries:
        name = f"{prefix}{entry.name}"
        check_name(name, source=str(folder))
        status = entry.stat(follow_symlinks=False)
        yield name, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(folder, f"{name}/")


def _size_of_plain_file(folder: Path, name: str, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{folder / name}: is {_kind(status.st_mode)}: expected a plain file", hint=DAMAGED)
    if status.st_nlink > 1:
        raise BundleError(
            f"{folder / name}: is a hard link ({status.st_nlink} names for one file): expected a file of its own",
            hint="copy the bundle with `cp -r --no-preserve=links`, or: " + DAMAGED,
        )
    if status.st_size > max_bytes(name):
        raise _too_large(folder, name, str(status.st_size))
    return status.st_size


def _too_large(folder: Path, name: str, size: str) -> BundleError:
    return BundleError(f"{folder / name}: has {size} bytes: expected at most {max_bytes(name)}", hint=DAMAGED)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
