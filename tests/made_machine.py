"""A small board that tests describe, so that they need not be on one."""

from __future__ import annotations

from typing import Any

from mstedge.bench_result import Environment


def board(**changes: Any) -> Environment:
    """Describe a made-up board, changed as asked."""
    values: dict[str, Any] = {
        "cpu": "Cortex-A78AE",
        "cores": 6,
        "memory_bytes": 8 * 2**30,
        "architecture": "aarch64",
        "kernel": "5.15.148-tegra",
        "operating_system": "Ubuntu 22.04.5 LTS",
        "python": "3.10.12",
        "packages": {},
    }
    return Environment(**(values | changes))
