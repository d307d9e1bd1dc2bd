"""Seconds and peak memory of stretches of a run, on a GPU or, for a trial without one, on a CPU."""

from __future__ import annotations

import gc
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from distill_cost_child import kibibytes


@dataclass
class Spent:
    """What a stretch took.

    Attributes:
        seconds: Wall clock, the device waited for at both ends.
        allocated_bytes: On a GPU the most that tensors held at a time. On a CPU the highest resident size.
        reserved_bytes: On a GPU the most that torch's allocator held of the card, less the CUDA context. On a CPU as
            above.
    """

    seconds: float = 0.0
    allocated_bytes: int = 0
    reserved_bytes: int = 0


class Meter:
    """A clock whose laps have names; laps of the same name add up.

    Memory that torch's allocator keeps between laps is not handed back: `reserved_bytes` is what a user's card needs.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._laps: dict[str, Spent] = {}
        self.skip()

    def lap(self, name: str) -> float:
        """End a stretch under this name, start another, and give the seconds of the one that ended."""
        _wait(self._device)
        seconds = time.perf_counter() - self._started
        allocated, reserved = _peaks(self._device)
        spent = self._laps.setdefault(name, Spent())
        spent.seconds += seconds
        spent.allocated_bytes = max(spent.allocated_bytes, allocated)
        spent.reserved_bytes = max(spent.reserved_bytes, reserved)
        self.skip()
        return seconds

    def skip(self) -> None:
        """Start another stretch and forget what was since the last one."""
        _wait(self._device)
        _forget_peaks(self._device)
        self._started = time.perf_counter()

    def together(self) -> Spent:
        """Add up all laps."""
        laps = self._laps.values()
        return Spent(
            sum(each.seconds for each in laps),
            max((each.allocated_bytes for each in laps), default=0),
            max((each.reserved_bytes for each in laps), default=0),
        )

    def figures(self) -> dict[str, dict[str, Any]]:
        """Give every lap by its name, as JSON has it."""
        return {name: rounded(each) for name, each in self._laps.items()}


def rounded(spent: Spent) -> dict[str, Any]:
    """Write a stretch down, seconds to a tenth of a millisecond."""
    return asdict(spent) | {"seconds": round(spent.seconds, 4)}


def hand_back(device: torch.device) -> None:
    """Let the allocator give back what no tensor holds any more, so that what comes next is measured alone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peaks(device: torch.device) -> tuple[int, int]:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    resident = kibibytes("VmHWM") * 1024
    return resident, resident


def _forget_peaks(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
