"""SIGNATURE: who vouches for a bundle. Ed25519 (RFC 8032) over SHA256SUMS, which names every other file."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mstedge.errors import BundleError, UsageError
from mstedge.files import write_atomically
from mstedge.manifest import SIGNATURE_NAME, SUMS_NAME
from mstedge.runtime.bundle.inventory import DAMAGED, list_files, read_file
from mstedge.runtime.bundle.keys import fingerprint_of, private_key, public_key
from mstedge.runtime.bundle.reader import Bundle, check_is_bundle, open_bundle
from mstedge.runtime.bundle.sums import sums_from_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA = "mstedge.signature/1"
# What is signed starts with this line, so that a signature over a bundle means nothing anywhere else.
DOMAIN = f"{SCHEMA}\n".encode()
SIGNATURE_BYTES = 64
SIGN_HINT = "sign it with: mstedge sign BUNDLE --key key.pem"
_TEXT = re.compile(rf"{re.escape(SCHEMA)}\nkey sha256:([0-9a-f]{{64}})\ned25519 ([A-Za-z0-9+/]{{86}}==)\n")


@dataclass(frozen=True, slots=True)
class Signature:
    """What the file SIGNATURE says.

    Attributes:
        fingerprint: sha256 of the public key that it names.
        value: The 64 bytes of the signature.
    """

    fingerprint: str
    value: bytes


@dataclass(frozen=True, slots=True)
class SignedSums:
    """Sums that somebody vouched for.

    Attributes:
        fingerprint: sha256 of the public key that the signature was checked with.
        digests: sha256 by name, as they were signed.
    """

    fingerprint: str
    digests: dict[str, str]

    def require(self, bundle: Bundle) -> None:
        """Require that a bundle is the one that was signed, should it have changed since the signature was checked.

        Raises:
            BundleError: It is another.
        """
        if bundle.digests != self.digests:
            raise BundleError(f"{bundle.folder / SUMS_NAME}: changed after its signature was checked", hint=DAMAGED)


def sign(folder: Path, key: Path) -> str:
    """Sign a bundle; an older signature is replaced.

    Args:
        folder: The bundle.
        key: Private Ed25519 key in PEM form.

    Returns:
        Fingerprint of the public key that checks it.

    Raises:
        UsageError: The path is no bundle, the key is none that signs, or the bundle cannot be written.
        BundleError: The bundle is damaged.
        MissingPackageError: cryptography is not installed.
    """
    signer = private_key(key)
    bundle = open_bundle(folder)
    sums = read_file(folder, SUMS_NAME)
    if sums_from_bytes(sums, source=str(folder / SUMS_NAME)) != bundle.digests:
        raise BundleError(f"{folder / SUMS_NAME}: changed while it was read", hint=DAMAGED)
    fingerprint = fingerprint_of(signer.public_key())
    _place(folder, text_of(Signature(fingerprint, signer.sign(DOMAIN + sums))))
    return fingerprint


def check_signature(folder: Path, key: Path) -> SignedSums:
    """Check who vouches for a bundle, before anything of it but SIGNATURE and SHA256SUMS is read.

    Args:
        folder: The bundle.
        key: Public Ed25519 key in PEM form, from somewhere else than the bundle.

    Returns:
        The digests that were signed; `SignedSums.require` holds an opened bundle against them.

    Raises:
        UsageError: The path is no bundle, or the key is none that checks.
        BundleError: There is no signature, it is malformed, by another key, or over other sums.
        MissingPackageError: cryptography is not installed.
    """
    checker = public_key(key)
    check_is_bundle(folder)
    signature = read_signature(folder)
    if signature is None:
        raise BundleError(f"{folder / SIGNATURE_NAME}: missing: the bundle is not signed", hint=SIGN_HINT)
    sums = read_file(folder, SUMS_NAME)
    _require_valid(signature, sums, checker, folder)
    return SignedSums(signature.fingerprint, sums_from_bytes(sums, source=str(folder / SUMS_NAME)))


def read_signature(folder: Path) -> Signature | None:
    """Read what a bundle's signature says, without checking it.

    Returns:
        None where there is no signature.

    Raises:
        BundleError: The file is not a signature.
    """
    if SIGNATURE_NAME not in list_files(folder):
        return None
    return signature_from_text(read_file(folder, SIGNATURE_NAME), source=str(folder / SIGNATURE_NAME))


def text_of(signature: Signature) -> bytes:
    """Write a signature as the three lines of its file."""
    value = base64.b64encode(signature.value).decode()
    return f"{SCHEMA}\nkey sha256:{signature.fingerprint}\ned25519 {value}\n".encode()


def signature_from_text(content: bytes, *, source: str) -> Signature:
    """Read the three lines; one signature has one spelling.

    Raises:
        BundleError: They are not such lines.
    """
    match = _TEXT.fullmatch(content.decode("ascii", "replace"))
    try:
        value = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        value = b""
    signature = Signature(match[1] if match else "", value)
    if len(value) != SIGNATURE_BYTES or text_of(signature) != content:
        raise BundleError(f"{source}: is not a signature of the form {SCHEMA}", hint=SIGN_HINT)
    return signature


def _require_valid(signature: Signature, sums: bytes, checker: Ed25519PublicKey, folder: Path) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  optional

    wanted = fingerprint_of(checker)
    if signature.fingerprint != wanted:
        raise BundleError(
            f"{folder / SIGNATURE_NAME}: names the key {signature.fingerprint[:16]}…, but the key that was given is"
            f" {wanted[:16]}…",
            hint="it was signed by somebody else, or with an older key: get the right public key, or do not use it",
        )
    try:
        checker.verify(signature.value, DOMAIN + sums)
    except InvalidSignature:
        raise BundleError(
            f"{folder / SIGNATURE_NAME}: does not fit {SUMS_NAME}: one of the two was changed after signing",
            hint=DAMAGED,
        ) from None


def _place(folder: Path, content: bytes) -> None:
    """Write the file beside the bundle and move it in: a half-written file inside would make the bundle invalid."""
    bundle = folder.resolve()
    beside = bundle.with_name(f".{bundle.name}.{SIGNATURE_NAME}")
    write_atomically(beside, content)
    try:
        beside.replace(bundle / SIGNATURE_NAME)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{folder / SIGNATURE_NAME}: cannot be written: {problem.strerror}") from None
