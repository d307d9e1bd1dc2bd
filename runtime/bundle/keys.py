"""Ed25519 keys from PEM files; what a key holds is never part of a message."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from mstedge.errors import MissingPackageError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_KEY_BYTES = 1 << 16
MAKE_KEY = "make a key with: openssl genpkey -algorithm ed25519 -out key.pem"
MAKE_PUBLIC = "take the public half with: openssl pkey -in key.pem -pubout -out key.pub.pem"


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that signs.

    Args:
        path: A PEM file without a passphrase.

    Raises:
        UsageError: There is no such file, or it holds another kind of key.
        MissingPackageError: cryptography is not installed.
    """
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  optional
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  optional
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  optional

    pem = _pem(path)
    if b"PUBLIC KEY" in pem:
        raise UsageError(f"{path}: is a public key: expected the private one, which signs", hint=MAKE_KEY)
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise UsageError(
            f"{path}: is locked with a passphrase: expected a key without one",
            hint=f"unlock it into a file that only you can read: openssl pkey -in {path} -out unlocked.pem",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path}: is no private key in PEM form", hint=MAKE_KEY) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: is a private key of another kind: expected Ed25519", hint=MAKE_KEY)
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Read the key that checks signatures.

    Args:
        path: A PEM file.

    Raises:
        UsageError: There is no such file, or it holds another kind of key.
        MissingPackageError: cryptography is not installed.
    """
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  optional
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415  optional
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  optional

    pem = _pem(path)
    if b"PRIVATE KEY" in pem:
        raise UsageError(
            f"{path}: is a private key: expected the public one; whoever holds the private one can sign",
            hint=MAKE_PUBLIC,
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path}: is no public key in PEM form", hint=MAKE_PUBLIC) from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path}: is a public key of another kind: expected Ed25519", hint=MAKE_KEY)
    return key


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """Name a key: the sha256 of its 32 raw bytes, in lower-case hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def require_cryptography() -> None:
    """Check that signatures can be made and checked here.

    Raises:
        MissingPackageError: cryptography is not installed.
    """
    try:
        import cryptography  # noqa: F401, PLC0415  optional
    except ImportError:
        raise MissingPackageError("cryptography", purpose="a signature", extra="sign") from None


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_KEY_BYTES + 1)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}", hint=MAKE_KEY) from None
    if len(content) > MAX_KEY_BYTES:
        raise UsageError(f"{path}: has more than {MAX_KEY_BYTES} bytes: expected a key in PEM form", hint=MAKE_KEY)
    return content
