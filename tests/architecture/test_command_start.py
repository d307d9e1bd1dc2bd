"""The command starts at once: help and completion load no engine and no numpy."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

MSTEDGE = Path(sys.executable).with_name("mstedge")
HEAVY = {
    *("numpy", "scipy", "pandas", "sklearn", "torch", "lightning_fabric", "tensorboard", "safetensors"),
    *("onnx", "onnxscript", "onnxruntime", "cv2", "soundfile", "soxr", "librosa", "matplotlib", "jinja2", "yaml"),
}
HELP_SECONDS = 0.5
ATTEMPTS = 5

EVERY_HELP = """
import json, sys
from mstedge.cli import app, run
names = [each.name for each in app.registered_commands] + [each.name for each in app.registered_groups]
codes = [run(arguments) for arguments in [["--help"], *([name, "--help"] for name in names)]]
json.dump({"names": names, "codes": codes, "modules": sorted({name.split(".")[0] for name in sys.modules})}, sys.stderr)
"""


def test_help_of_every_command_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_HELP], capture_output=True, text=True, check=True)
    seen = json.loads(done.stderr)
    assert "recipes" in seen["names"]
    assert set(seen["codes"]) == {0}
    assert HEAVY & set(seen["modules"]) == set()


def test_help_is_quick() -> None:
    for _ in range(ATTEMPTS):
        if (middle := statistics.median(_seconds_of_help() for _ in range(3))) < HELP_SECONDS:
            break
        time.sleep(1)  # another process may have had the cores
    assert middle < HELP_SECONDS


def test_bash_completes_commands() -> None:
    environment = os.environ | {"_MSTEDGE_COMPLETE": "complete_bash", "COMP_WORDS": "mstedge ver", "COMP_CWORD": "1"}
    done = subprocess.run([MSTEDGE], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["verify"], done.stderr


def _seconds_of_help() -> float:
    """Measure processor time: other processes cannot add to it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([MSTEDGE, "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
