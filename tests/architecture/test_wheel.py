"""The built wheel holds everything, and alone it runs a bundle on a machine that has never seen torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from bundle_factory import make_bundle

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "mstedge": "mstedge",
    "runtime": "mstedge/runtime",
    "training": "mstedge/training",
    "export": "mstedge/export",
}
METADATA_FILES = ("pyproject.toml", "README.md", "LICENSE")
SAFE_PATH = ["-P"] if sys.version_info >= (3, 11) else []


def run(*command: str | Path, folder: Path, expect: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree: nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("tree")
    for name in FOLDERS:
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in METADATA_FILES:
        shutil.copy(CHECKOUT / name, folder / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", folder=folder)
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def device_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel, its base requirements and ONNX Runtime."""
    folder = tmp_path_factory.mktemp("device")
    _require_an_index(folder)
    run(sys.executable, "-m", "venv", "venv", folder=folder)
    python = folder / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", f"mstedge[onnxruntime] @ {wheel.as_uri()}", folder=folder)
    return python


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("shipped") / "tones.bundle", "audio")


def test_wheel_holds_every_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{inside}/{path.relative_to(CHECKOUT / folder).as_posix()}"
        for folder, inside in FOLDERS.items()
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(expected) > 50
    assert expected - held == set()
    assert {name.split("/")[0] for name in held - expected} == {f"{wheel.name.split('-py3')[0]}.dist-info"}


def test_device_environment_is_small(device_python: Path) -> None:
    listed = json.loads(run(device_python, "-m", "pip", "list", "--format", "json", folder=device_python.parent))
    names = {each["name"].lower() for each in listed}
    assert {"mstedge", "numpy", "msgspec", "typer", "onnxruntime"} <= names
    assert names & {"torch", "onnx", "scipy", "pandas", "opencv-python-headless", "matplotlib", "pyyaml"} == set()


def test_wheel_verifies_a_bundle(device_python: Path, bundle: Path, tmp_path: Path) -> None:
    report = _mstedge_json(device_python, tmp_path, "verify", bundle)
    assert report["passed"] is True
    assert len(report["cases"]) == 8


def test_wheel_refuses_a_changed_bundle(device_python: Path, bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.bundle"
    shutil.copytree(bundle, changed)
    model = changed / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    run(device_python, *SAFE_PATH, "-m", "mstedge", "verify", changed, folder=tmp_path, expect=1)


def test_wheel_predicts(device_python: Path, bundle: Path, tmp_path: Path) -> None:
    answers = run(
        *(device_python, *SAFE_PATH, "-m", "mstedge", "predict", bundle, bundle / "golden/raw", "--json"),
        folder=tmp_path,
    )
    assert answers.count('"mstedge.prediction/1"') == 8


def test_wheel_benchmarks(device_python: Path, bundle: Path, tmp_path: Path) -> None:
    result = _mstedge_json(device_python, tmp_path, "bench", bundle, "--seconds", "1")
    assert {series["name"] for series in result["series"]} == {"predictor", "engine"}


def test_wheel_loads_in_two_lines(device_python: Path, bundle: Path, tmp_path: Path) -> None:
    script = (
        f"import mstedge; print(mstedge.load({str(bundle)!r}).predict({str(bundle / 'golden/raw/case-0.wav')!r}).label)"
    )
    assert run(device_python, *SAFE_PATH, "-c", script, folder=tmp_path).strip() in {"low", "middle", "high"}


def _mstedge_json(python: Path, folder: Path, *arguments: str | Path) -> Any:
    return json.loads(run(python, *SAFE_PATH, "-m", "mstedge", *arguments, "--json", folder=folder))


def _require_an_index(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0", "typing_extensions"]
    probe = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if probe.returncode:
        reason = f"pip reaches no package index here: {probe.stderr.strip().splitlines()[-1]}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
