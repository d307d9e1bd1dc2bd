"""Measure what the engine's options bring to stage 3 on this CPU, side by side, one thread.

    python benchmarks/engine_options.py [--shapes avmnist ravdess-visual] [--rounds 3]

Each option trains the student of a published shape (`published_shapes.py`) in a process of its own, rounds in turn so
that whatever else the machine does meets all alike. A figure is the least CPU time of a batch over all epochs but the
first, which compiles and warms up. `loss` is that of the last epoch: what an option costs in arithmetic.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import torch
from distill_cost_child import merged, recipe_of, setup_of, timed
from published_shapes import SHAPES

from mstedge.training.method.distill import DistillPhase

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "fused_adam: false": {"fused_adam": False},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-mixed, channels_last": {"precision": "bf16-mixed", "channels_last": True},
    "bf16-mixed, compile": {"precision": "bf16-mixed", "compile": True},
}


@dataclass(frozen=True)
class Extent:
    """How much is measured of a shape.

    Attributes:
        batches: Batches of an epoch.
        epochs: Epochs after the first.
    """

    batches: int
    epochs: int


EXTENTS = {"avmnist": Extent(24, 4), "ravdess-visual": Extent(1, 2)}
NARROW = {"stages": {"specialise": {"hidden_dim_factor": 20}}}  # stage 3 does not care how wide masks are


def measure(name: str, option: str) -> dict[str, float]:
    """Train in this process: CPU-milliseconds of a batch, and the last loss."""
    torch.manual_seed(0)
    shape, extent = SHAPES[name], EXTENTS[name]
    recipe = recipe_of(shape, merged(NARROW, {"engine": OPTIONS[option]}))
    phase = DistillPhase(setup_of(shape, recipe, extent.batches))
    losses: list[float] = []

    def epoch(number: int) -> None:
        losses.append(phase.run_epoch(number).rows[0]["loss"])

    first = timed(lambda: epoch(0))
    seconds = [timed(lambda number=number: epoch(number)) for number in range(1, extent.epochs + 1)]
    return {
        "milliseconds": 1000 * min(seconds) / extent.batches,
        "first_seconds": first - min(seconds),
        "loss": losses[-1],
    }


def measured_elsewhere(name: str, option: str) -> dict[str, float]:
    """Train in a process of its own; where that fails, say why."""
    command = [sys.executable, __file__, "--child", name, option]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{name}, {option}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {"milliseconds": math.nan, "first_seconds": math.nan, "loss": math.nan}
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}, {option}: {figures['milliseconds']:.1f} ms", file=sys.stderr)
    return figures


def table(name: str, rounds: int) -> str:
    """Measure all options of a shape, in turn."""
    found: dict[str, list[dict[str, float]]] = {option: [] for option in OPTIONS}
    for _round in range(rounds):
        for option, figures in found.items():
            figures.append(measured_elsewhere(name, option))
    lines = [
        f"{name}, batches of {SHAPES[name].batch_rows} rows",
        "",
        "| engine | CPU-ms of a batch | times as fast | more for the first epoch, s | loss |",
        "|---|---|---|---|---|",
    ]
    plain = min(each["milliseconds"] for each in found["none"])
    for option, figures in found.items():
        best = min(each["milliseconds"] for each in figures)
        first = min(each["first_seconds"] for each in figures)
        lines.append(f"| {option} | {best:.1f} | {plain / best:.2f} | {first:.1f} | {figures[0]['loss']:.5f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure and print one table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=EXTENTS, default=list(EXTENTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("SHAPE", "OPTION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return
    for name in arguments.shapes:
        print(table(name, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
