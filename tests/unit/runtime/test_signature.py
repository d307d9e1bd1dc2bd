"""Signatures: whoever changes a bundle, its sums or its signature is found out, and keys stay secret."""

from __future__ import annotations

import dataclasses
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from bundle_factory import make_bundle, seal
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from mstedge.errors import BundleError, MissingPackageError, UsageError
from mstedge.files import folder_written_atomically
from mstedge.runtime.bundle import open_bundle, write_sums
from mstedge.runtime.bundle.signature import (
    Signature,
    check_signature,
    read_signature,
    sign,
    signature_from_text,
    text_of,
)

FILES = ("manifest.json", "model.onnx", "golden/cases.json", "golden/logits.npy", "parity/report.json")


def write_key(folder: Path, name: str, key: Any = None) -> tuple[Path, Path]:
    key = key or ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_key(tmp_path, "key")


@pytest.fixture
def signed(bundle: Path, keys: tuple[Path, Path]) -> Path:
    sign(bundle, keys[0])
    return bundle


def refusal(folder: Path, key: Path) -> str:
    with pytest.raises(BundleError) as caught:
        check_signature(folder, key)
    assert caught.value.exit_code == 1
    assert caught.value.hint
    return caught.value.message


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_signed_bundle_opens_and_its_signature_holds(bundle: Path, keys: tuple[Path, Path]):
    before = open_bundle(bundle)
    fingerprint = sign(bundle, keys[0])
    assert open_bundle(bundle) == before
    found = check_signature(bundle, keys[1])
    assert found.fingerprint == fingerprint
    found.require(before)
    assert (bundle / "SIGNATURE").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in bundle.parent.iterdir() if "SIGNATURE" in path.name] == []


def test_same_key_gives_the_same_signature(signed: Path, keys: tuple[Path, Path]):
    first = (signed / "SIGNATURE").read_bytes()
    sign(signed, keys[0])
    assert (signed / "SIGNATURE").read_bytes() == first


def test_newer_signature_takes_the_place_of_the_older(signed: Path, keys: tuple[Path, Path], tmp_path: Path):
    private, public = write_key(tmp_path, "other")
    sign(signed, private)
    assert check_signature(signed, public).digests == open_bundle(signed).digests
    assert "names the key" in refusal(signed, keys[1])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_one_changed_byte_of_any_file_is_refused(signed: Path, keys: tuple[Path, Path], name: str, share: float):
    flip(signed / name, round(share * ((signed / name).stat().st_size - 1)))
    with pytest.raises(BundleError, match=re.escape(name)):
        open_bundle(signed)
    seal(signed)  # a forger writes the sums again
    assert "does not fit SHA256SUMS" in refusal(signed, keys[1])


@pytest.mark.parametrize(("name", "step"), [("SHA256SUMS", 17), ("SIGNATURE", 1)])
def test_changed_byte_of_sums_or_signature_is_refused(signed: Path, keys: tuple[Path, Path], name: str, step: int):
    content = (signed / name).read_bytes()
    for position in range(0, len(content), step):
        flip(signed / name, position)
        assert str(signed / "SIGNATURE") in refusal(signed, keys[1])
        (signed / name).write_bytes(content)
    check_signature(signed, keys[1])


def test_bytes_are_checked_before_they_are_parsed(signed: Path, keys: tuple[Path, Path]):
    (signed / "SHA256SUMS").write_bytes(b"\xff not sums at all")
    assert "does not fit SHA256SUMS" in refusal(signed, keys[1])


def test_signature_of_another_bundle_is_refused(signed: Path, keys: tuple[Path, Path], tmp_path: Path):
    other = make_bundle(tmp_path / "other.bundle", lineage_seed=1)
    sign(other, keys[0])
    shutil.copyfile(other / "SIGNATURE", signed / "SIGNATURE")
    assert "does not fit SHA256SUMS" in refusal(signed, keys[1])


def test_signature_without_the_first_line_of_what_is_signed_is_refused(signed: Path, tmp_path: Path):
    key = ed25519.Ed25519PrivateKey.generate()
    _, public = write_key(tmp_path, "other", key)
    fingerprint = sign(signed, write_key(tmp_path, "other", key)[0])
    plain = key.sign((signed / "SHA256SUMS").read_bytes())
    (signed / "SIGNATURE").write_bytes(text_of(Signature(fingerprint, plain)))
    assert "does not fit" in refusal(signed, public)


def test_another_key_is_refused_even_under_the_right_name(signed: Path, keys: tuple[Path, Path], tmp_path: Path):
    found = read_signature(signed)
    private, public = write_key(tmp_path, "other")
    assert found is not None
    assert f"names the key {found.fingerprint[:16]}" in refusal(signed, public)
    sign(signed, private)
    forged = read_signature(signed)
    assert forged is not None
    (signed / "SIGNATURE").write_bytes(text_of(Signature(found.fingerprint, forged.value)))
    assert "does not fit" in refusal(signed, keys[1])


def test_unsigned_bundle_is_valid_and_fails_where_a_signature_is_asked_for(bundle: Path, keys: tuple[Path, Path]):
    assert open_bundle(bundle)
    assert read_signature(bundle) is None
    assert "SIGNATURE: missing" in refusal(bundle, keys[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda text: text[:-1],
        lambda text: text[:60],
        lambda text: text + b"\n",
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"signature/1", b"signature/2"),
        lambda text: text.replace(b"==", b""),
        lambda text: text.upper(),
        lambda text: b"\xff" * len(text),
    ],
)
def test_malformed_signature_is_refused(signed: Path, keys: tuple[Path, Path], change: Any):
    (signed / "SIGNATURE").write_bytes(change((signed / "SIGNATURE").read_bytes()))
    assert "is not a signature of the form mstedge.signature/1" in refusal(signed, keys[1])


@pytest.mark.parametrize("spoil", ["link", "large", "folder"])
def test_signature_that_is_no_small_plain_file_is_refused(signed: Path, keys: tuple[Path, Path], spoil: str):
    path = signed / "SIGNATURE"
    content = path.read_bytes()
    path.unlink()
    if spoil == "link":
        path.symlink_to(signed / "manifest.json")
    elif spoil == "large":
        path.write_bytes(content * 10)
    else:
        path.mkdir()
    if spoil == "folder":
        assert "missing" in refusal(signed, keys[1])
    else:
        assert str(path) in refusal(signed, keys[1])


@given(fingerprint=st.binary(min_size=32, max_size=32), value=st.binary(min_size=64, max_size=64))
def test_text_comes_back(fingerprint: bytes, value: bytes):
    one = Signature(fingerprint.hex(), value)
    assert signature_from_text(text_of(one), source="x") == one


@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_signature_or_refused(content: bytes):
    with pytest.raises(BundleError):
        signature_from_text(content, source="x")


def test_sums_never_list_the_signature(signed: Path):
    write_sums(signed)
    assert "SIGNATURE" not in (signed / "SHA256SUMS").read_text()
    with (signed / "SHA256SUMS").open("a") as stream:
        stream.write(f"{'0' * 64}  SIGNATURE\n")
    with pytest.raises(BundleError, match="names 'SIGNATURE', which no sums can prove"):
        open_bundle(signed)


@pytest.mark.parametrize("name", ["SIGNATURE.old", "signature", "golden/SIGNATURE"])
def test_only_this_one_name_is_left_out(bundle: Path, name: str):
    (bundle / name).write_text("x")
    with pytest.raises(BundleError, match="not listed in SHA256SUMS"):
        open_bundle(bundle)


def test_bundle_that_changed_after_its_signature_was_checked_is_refused(signed: Path, keys: tuple[Path, Path]):
    found = check_signature(signed, keys[1])
    opened = open_bundle(signed)
    other = dataclasses.replace(opened, digests=opened.digests | {"model.onnx": "0" * 64})
    with pytest.raises(BundleError, match="changed after its signature was checked"):
        found.require(other)


def test_new_bundle_in_the_place_of_a_signed_one_is_unsigned(signed: Path):
    with folder_written_atomically(signed) as folder:
        shutil.rmtree(folder)
        make_bundle(folder)
    assert read_signature(signed) is None


def test_damaged_bundle_is_not_signed(bundle: Path, keys: tuple[Path, Path]):
    flip(bundle / "model.onnx", 0)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        sign(bundle, keys[0])
    assert not (bundle / "SIGNATURE").exists()


def test_folder_that_is_no_bundle(tmp_path: Path, keys: tuple[Path, Path]):
    with pytest.raises(UsageError, match="is not a bundle"):
        check_signature(tmp_path, keys[1])
    with pytest.raises(UsageError, match="is not a bundle"):
        sign(tmp_path, keys[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is no private key in PEM form"),
        (b"hello", "is no private key in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no private key in PEM form"),
        (b"x" * 100_000, "has more than 65536 bytes"),
    ],
)
def test_what_is_no_private_key_is_said(bundle: Path, tmp_path: Path, content: bytes | None, message: str):
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        sign(bundle, path)
    assert "openssl genpkey -algorithm ed25519" in (caught.value.hint or "")


def test_keys_of_another_kind_are_refused(bundle: Path, tmp_path: Path):
    private, public = write_key(tmp_path, "curve", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UsageError, match="of another kind: expected Ed25519"):
        sign(bundle, private)
    with pytest.raises(UsageError, match="of another kind: expected Ed25519"):
        check_signature(bundle, public)


def test_halves_of_a_key_are_told_apart(bundle: Path, keys: tuple[Path, Path]):
    private, public = keys
    with pytest.raises(UsageError, match="is a public key: expected the private one"):
        sign(bundle, public)
    with pytest.raises(UsageError, match="is a private key: expected the public one") as caught:
        check_signature(bundle, private)
    assert "-pubout" in (caught.value.hint or "")


def test_locked_key_says_how_to_unlock_it(bundle: Path, tmp_path: Path):
    key = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "locked.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(UsageError, match="is locked with a passphrase") as caught:
        sign(bundle, path)
    assert "openssl pkey -in" in (caught.value.hint or "")


def test_no_message_holds_a_line_of_the_key(bundle: Path, keys: tuple[Path, Path], tmp_path: Path):
    lines = [line for line in keys[0].read_text().splitlines() if "-----" not in line]
    spoilt = tmp_path / "spoilt.pem"
    spoilt.write_text(keys[0].read_text().replace("-----END", "x-----END"))
    for path in (spoilt, keys[0]):
        with pytest.raises(UsageError) as caught:
            (sign if path == spoilt else check_signature)(bundle, path)
        assert not any(line in str(caught.value) for line in lines)


def test_missing_package_is_named_with_its_extra(
    bundle: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for work in (lambda: sign(bundle, keys[0]), lambda: check_signature(bundle, keys[1])):
        with pytest.raises(MissingPackageError, match="cryptography") as caught:
            work()
        assert caught.value.exit_code == 3
        assert caught.value.hint == "pip install 'mstedge[sign]'"
