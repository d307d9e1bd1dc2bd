"""SHA256SUMS: one digest per file of a bundle, in the format of sha256sum."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mstedge.errors import BundleError
from mstedge.files import write_atomically
from mstedge.manifest import SIGNATURE_NAME, SUMS_NAME
from mstedge.runtime.bundle.inventory import DAMAGED, list_files, read_file, sha256_of
from mstedge.runtime.bundle.paths import check_collisions, check_name

# Sums cannot hold their own digest, nor that of the signature over them.
UNLISTED = frozenset({SUMS_NAME, SIGNATURE_NAME})
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over every file of a folder but SIGNATURE; `sha256sum -c SHA256SUMS` inside it agrees.

    Args:
        folder: The bundle, complete but for this file.

    Raises:
        BundleError: The folder holds something that no bundle may hold: a link, a pipe, a forbidden name.
    """
    names = [name for name in list_files(folder) if name not in UNLISTED]
    lines = [f"{sha256_of(folder, name)}  {name}\n" for name in names]
    write_atomically(folder / SUMS_NAME, "".join(lines).encode())


def read_sums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS.

    Returns:
        Digests in lower-case hex by name.

    Raises:
        BundleError: A line is not one, a name is forbidden, stands twice or collides with another.
    """
    return sums_from_bytes(read_file(folder, SUMS_NAME), source=str(folder / SUMS_NAME))


def sums_from_bytes(content: bytes, *, source: str) -> dict[str, str]:
    """Read the lines of SHA256SUMS.

    Args:
        content: The file.
        source: Where it stands, for the message.

    Returns:
        Digests in lower-case hex by name.

    Raises:
        BundleError: A line is not one, a name is forbidden, stands twice or collides with another.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise BundleError(f"{source}: not UTF-8 text", hint=DAMAGED) from None
    if not text.endswith("\n"):
        raise BundleError(f"{source}: empty or cut off: the last line does not end", hint=DAMAGED)
    digests: dict[str, str] = {}
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{source}: line {number} is not '<sha256>  <name>': {line[:80]!r}", hint=DAMAGED)
        digest, name = match.groups()
        check_name(name, source=f"{source}, line {number}")
        if name in UNLISTED:
            raise BundleError(f"{source}: line {number} names {name!r}, which no sums can prove", hint=DAMAGED)
        if name in digests:
            raise BundleError(f"{source}: line {number} names {name!r} a second time", hint=DAMAGED)
        digests[name] = digest
    check_collisions(digests, source=source)
    return digests


def check_sums(folder: Path, digests: Mapping[str, str]) -> None:
    """Hold a folder against its digests: the same files, each with the same bytes.

    Args:
        folder: The bundle.
        digests: What SHA256SUMS says.

    Raises:
        BundleError: A file is missing, is not listed, or has another digest; the message names it.
    """
    found = set(list_files(folder)) - UNLISTED
    for name in sorted(set(digests) - found):
        raise BundleError(f"{folder / name}: missing, but {SUMS_NAME} lists it", hint=DAMAGED)
    for name in sorted(found - set(digests)):
        raise BundleError(
            f"{folder / name}: not listed in {SUMS_NAME}", hint=f"remove it if it is yours; otherwise {DAMAGED}"
        )
    for name, digest in digests.items():
        check_digest(folder, name, sha256_of(folder, name), digest)


def check_digest(folder: Path, name: str, found: str, expected: str) -> None:
    """Compare the digest of a file's bytes with what SHA256SUMS says.

    Raises:
        BundleError: They differ.
    """
    if found != expected:
        raise BundleError(
            f"{folder / name}: its bytes have the sha256 {found[:16]}…, but {SUMS_NAME} says {expected[:16]}…",
            hint=DAMAGED,
        )
