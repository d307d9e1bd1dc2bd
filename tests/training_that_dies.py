"""A process that imports torch once and forks a training process for each line it reads, some of which kill themselves.

Each line of standard input is a JSON object: what to do (`Order`); the answer is the exit code of the process that did
it, negative for a signal. Standard library and mstedge only, so that a fork has no threads to miss.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, TypedDict

import lightning_fabric  # noqa: F401  the product imports it when it is needed: once, before any fork
import numpy as np
import torch
import torch.utils.tensorboard
import torchmetrics.classification  # noqa: F401
from tiny_training import ROWS, TinySource, silent, tiny_recipe

from mstedge.cli import run
from mstedge.recipe import Recipe
from mstedge.training import trainer
from mstedge.training.engine import Engine
from mstedge.training.models.networks import Mlp
from mstedge.training.models.registry import NETWORKS
from mstedge.training.runs import train_run
from mstedge.training.sources import load_dataset

KILLED = -signal.SIGKILL
SIDES = (1, 6, 6)
# What writes: a process may be killed at any of its lines, those that it calls in pathlib included.
WRITING = ("training/trainer.py", "training/runs.py", "training/recorder.py", "training/checkpoint.py")
WRITING += ("training/campaign.py", "mstedge/files.py")
WRITING_IN_PATHLIB = {"write_bytes", "replace", "unlink"}
FORGETFUL = {"modality": "sense", "network": "forgetful", "options": {"widths": [12, 8]}}
AUGMENT = {"sense": {"noise": 0.3}, "picture": {"noise": 0.1, "shift": [1, 1], "mask_rows": 2}}
MAPPED = {"device": "cpu", "threads": 1, "data": "mapped"}
SHORT = {"collaborative": {"epochs": 2}, "specialise": {"epochs": 2}, "distill": {"epochs": 3}}
# Recipes by name: the method, and what changes. All have dropout, BatchNorm, taps at maps, and rows without a label.
RECIPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "kept": ("mst", {"student": FORGETFUL}),
    "varied": ("mst", {"student": FORGETFUL, "augment": AUGMENT, "engine": MAPPED}),
    "filed": (
        "mst",
        {
            "student": FORGETFUL,
            "cache": {"targets": "file", "max_bytes": 0},
            "engine": MAPPED,
            "stages": SHORT
            | {"specialise": {"epochs": 2, "masks": "cumulative"}, "distill": {"epochs": 3, "routing": "random"}},
        },
    ),
    "labels-only": ("labels-only", {"student": FORGETFUL, "augment": AUGMENT}),
    "command": ("mst", {}),
}


class Order(TypedDict, total=False):
    """What a process shall do.

    Attributes:
        recipe: Train it, key of `RECIPES`.
        arguments: Run the command `mstedge` with these instead.
        folder: The run folder.
        every_epoch: Whether checkpoints are written after every epoch, and not after some seconds.
        step: Kill the process at this step, as `stage epoch n step n`.
        after: Whether it is killed after the step, not before.
        line: Kill it at the line of this number, of those that write.
        shrinking: Kill it as soon as this file is smaller than it was.
        appearing: Kill it as soon as the run folder has a file whose name begins so.
        lines: Write into this file where all these lines are.
    """

    recipe: str
    arguments: list[str]
    folder: str
    every_epoch: bool
    step: str
    after: bool
    line: int
    shrinking: str
    appearing: str
    lines: str


class Forgetful(Mlp):
    """Draws from torch's own generator at every step."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(values, 0.3, self.training))


def recipe_of(name: str, folder: Path) -> Recipe:
    """Give a recipe whose rows stand in a folder."""
    cnn = {"channels": [6, 6], "hidden": 8}
    teachers = [
        {"name": "both", "modalities": ["picture", "sense"], "network": "fusion", "taps": ["trunks.0.0", "hidden"]},
        {"name": "helper", "modalities": ["picture"], "network": "cnn", "taps": ["trunk.0"]},
    ]
    values: dict[str, Any] = {
        "data": {"kind": "manifest", "path": str(folder / "rows.csv")},
        "modalities": {"sense": {"kind": "array", "shape": [8]}, "picture": {"kind": "array", "shape": list(SIDES)}},
        "teachers": [each | {"options": cnn} for each in teachers],
        "stages": SHORT,
    }
    return tiny_recipe(**values | RECIPES[name][1])


def write_rows(folder: Path) -> None:
    """Write the vectors of `TinySource` and pictures of their classes, with a manifest."""
    source, generator = TinySource(), np.random.default_rng(1)
    lines = ["sense,picture,label,split"]
    for part, count in ROWS.items():
        for row in range(count):
            name, label = f"{part}-{row}", row % 3
            picture = generator.normal(size=SIDES)
            picture[:, 2 * label] += 2
            np.save(folder / f"{name}-sense.npy", source.decoded(part, "sense", row).values)  # type: ignore[arg-type]
            np.save(folder / f"{name}-picture.npy", picture.astype(np.float32))
            lines.append(f"{name}-sense.npy,{name}-picture.npy,{source.class_names[label]},{part}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def work(order: Order, rows: Path) -> int:
    """Do what is asked for, to the end or to the kill."""
    if order.get("every_epoch", True):
        trainer._SECONDS_BETWEEN_CHECKPOINTS = -1.0
    die_at_step(order)
    if {"line", "lines", "shrinking", "appearing"} & set(order):
        sys.settrace(tracer(order))
    if "arguments" in order:
        return run(order["arguments"])
    recipe, method = recipe_of(order["recipe"], rows), RECIPES[order["recipe"]][0]
    train_run(recipe, load_dataset(recipe), Path(order["folder"]), method=method, listener=silent)
    return 0


def die_at_step(order: Order) -> None:
    """Let the engine's step kill the process."""
    take_step, wanted, after = Engine.step, order.get("step"), order.get("after", False)

    def step(engine: Engine, loss: torch.Tensor, optimiser: Any, *, where: str) -> torch.Tensor:
        if where == wanted and not after:
            die()
        value = take_step(engine, loss, optimiser, where=where)
        if where == wanted:
            die()
        return value

    Engine.step = step  # type: ignore[method-assign]


def tracer(order: Order) -> Any:
    """Count the lines that write, and kill the process at one of them or list where they are."""
    seen: list[str] = []
    fatal = order.get("line", -1)
    watched = Path(order["shrinking"]) if "shrinking" in order else None
    least = watched.stat().st_size if watched else 0

    def fatal_moment() -> bool:
        if "appearing" in order:
            return any(Path(order["folder"]).glob(f"{order['appearing']}*"))
        return len(seen) == fatal or (watched is not None and watched.stat().st_size < least)

    def follow(frame: Any, event: str, _value: Any) -> Any:
        if event == "line":
            if fatal_moment():
                die()
            seen.append(f"{Path(frame.f_code.co_filename).name} {frame.f_code.co_name} {frame.f_lineno}")
        if event == "return" and "lines" in order and frame.f_code.co_name == "train_run":
            Path(order["lines"]).write_text(json.dumps(seen))
        return follow

    def enter(frame: Any, _event: str, _value: Any) -> Any:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        in_pathlib = file.endswith("/pathlib.py") and function in WRITING_IN_PATHLIB
        return follow if in_pathlib or file.endswith(WRITING) else None

    return enter


def die() -> None:
    """Let nothing be tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(rows: Path) -> None:
    """Fork a process for every order, one after the other."""
    torch.set_num_threads(1)
    NETWORKS["forgetful"] = Forgetful
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what commands print is no answer
            code = 1
            try:
                code = work(json.loads(line), rows)
            except BaseException:  # noqa: BLE001  whatever it is, this process must not read the next order
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _pid, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
