"""`mstedge sign` and `mstedge verify --key`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from bundle_factory import make_bundle, seal

from mstedge.cli import run
from mstedge.verification import VerifyReport


def make_key(folder: Path, name: str) -> tuple[str, str]:
    """Make a key as the help says."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run([openssl, "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return str(private), str(public)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_key(tmp_path_factory.mktemp("keys"), "key")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "array", cases=2)


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(pristine, tmp_path / "a.bundle"))


def test_sign_then_verify(bundle: str, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sign", bundle, "--key", keys[0]]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"signed {bundle} with the key ")
    fingerprint = shown.out.split()[-1]
    assert run(["verify", bundle, "--key", keys[1]]) == 0
    assert f"signed with the key {fingerprint[:16]}…" in capsys.readouterr().out
    assert run(["verify", bundle, "--key", keys[1], "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=VerifyReport).signature == fingerprint


def test_json_names_the_key(bundle: str, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sign", bundle, "--key", keys[0], "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["schema"], said["file"]) == ("mstedge.sign/1", "SIGNATURE")
    assert len(bytes.fromhex(said["key_sha256"])) == 32


def test_without_a_key_signatures_are_not_looked_at(
    bundle: str, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sign", bundle, "--key", keys[0]]) == 0
    (Path(bundle) / "SIGNATURE").write_bytes(b"nonsense")
    capsys.readouterr()
    assert run(["verify", bundle, "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=VerifyReport).signature is None


def test_every_refusal_ends_with_one(
    bundle: str, keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(words: str, key: str = keys[1]) -> None:
        capsys.readouterr()
        assert run(["verify", bundle, "--key", key]) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert words in shown.err

    refused("the bundle is not signed")
    assert run(["sign", bundle, "--key", keys[0]]) == 0
    refused("names the key", make_key(tmp_path, "other")[1])
    model = Path(bundle) / "model.onnx"
    model.write_bytes(b"not a model, which nobody may parse")
    refused("model.onnx: its bytes have the sha256")
    seal(Path(bundle))
    refused("does not fit SHA256SUMS")


def test_usage_errors_end_with_two(bundle: str, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sign", bundle, "--key", keys[1]]) == 2
    assert "openssl genpkey -algorithm ed25519 -out key.pem" in capsys.readouterr().err
    assert run(["verify", bundle, "--key", keys[0]]) == 2
    assert "openssl pkey -in key.pem -pubout -out key.pub.pem" in capsys.readouterr().err
    assert run(["sign", bundle]) == 2
    assert not (Path(bundle) / "SIGNATURE").exists()
