"""What machine a measurement was made on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

_ASKED = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.memory")


def machine(facts: dict[str, Any]) -> dict[str, Any]:
    """Add what the driver and the system say to what torch says; what cannot be read is none."""
    cores = len(os.sched_getaffinity(0))
    return facts | {"processor": _processor(), "cores": cores, "nvidia_smi": nvidia_smi()}


def nvidia_smi() -> dict[str, str] | None:
    """Ask the driver about the first card; none where it cannot be asked."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    values = (each.strip() for each in done.stdout.splitlines()[0].split(","))
    return dict(zip(_ASKED, values, strict=False))


def slug(name: str) -> str:
    """Write a card's name so that it can stand in a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
