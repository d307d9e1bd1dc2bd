"""On a device nothing of training exists: the commands that run there work where importing it is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bundle_factory import make_bundle

REFUSING = """
import sys

REFUSED = {"torch", "onnx", "onnxscript", "scipy", "pandas", "sklearn", "lightning_fabric", "matplotlib", "yaml"}
REFUSED_OF_OURS = {"mstedge.training", "mstedge.export", "mstedge.report"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED or ".".join(name.split(".")[:2]) in REFUSED_OF_OURS:
            raise ModuleNotFoundError(f"a device has no {name}", name=name)

sys.meta_path.insert(0, Refuse())
from mstedge.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("device") / "tones.bundle", "audio")


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "{bundle}"],
        ["parity", "{bundle}"],
        ["predict", "{bundle}", "{bundle}/golden/raw"],
        ["bench", "{bundle}", "--seconds", "1"],
        ["inspect", "{bundle}"],
        ["doctor"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_command_runs_without_training(arguments: list[str], bundle: Path, tmp_path: Path) -> None:
    filled = [each.format(bundle=bundle) for each in arguments]
    command = [sys.executable, "-c", REFUSING, *filled]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_refusal_refuses(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REFUSING, "recipes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert "a device has no mstedge.training" in done.stderr
