"""Whether there is a GPU, and which: TensorRT crashes a process that starts its runtime where there is none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from mstedge.engine_build import Gpu

_PROBE = Path(__file__).with_name("gpu_probe.py")
_PROBE_SECONDS = 60.0
_DRIVER = "libcuda.so.1"
_ROOT = Path("/")
_LONGEST_NAME = 120


class GpuState(NamedTuple):
    """A GPU, or why there is none.

    Attributes:
        gpu: The one that was asked for, as CUDA counts those it shows this process; none where it shows none.
        reason: Why there is none, in words; empty where there is one.
    """

    gpu: Gpu | None
    reason: str


def find_gpu(driver: str = _DRIVER, number: int = 0) -> GpuState:
    """Ask the CUDA driver, in a process of its own.

    Args:
        driver: The driver's library, as the system's loader finds it.
        number: Which GPU, as CUDA counts them.
    """
    command = [sys.executable, "-I", str(_PROBE), driver, str(number)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return GpuState(None, f"asking the NVIDIA driver failed: {type(problem).__name__}")
    if done.returncode != 0:
        return GpuState(None, f"asking the NVIDIA driver ended with code {done.returncode}")
    found = msgspec.json.decode(done.stdout, type=dict[str, str])
    if "reason" in found:
        return GpuState(None, found["reason"])
    name = "".join(one for one in found["name"] if one.isprintable())[:_LONGEST_NAME]
    return GpuState(Gpu(name=name, compute_capability=found["compute_capability"]), "")


def driver_release(l4t: str | None, root: Path = _ROOT) -> str:
    """Name what stands between CUDA and the GPU: `L4T 36.4.7` on a Jetson, else the driver's release, or `unknown`.

    Args:
        l4t: Release of Jetson Linux; none on other machines.
        root: Where `/proc` is looked for.
    """
    if l4t is not None:
        return f"L4T {l4t}"
    try:
        text = (root / "proc/driver/nvidia/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "unknown"
    found = re.search(r"^NVRM version:.*?\s(\d{1,4}(?:\.\d{1,4}){1,3})\s", text, re.MULTILINE)
    return found[1] if found else "unknown"
