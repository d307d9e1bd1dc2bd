"""What the tests of several processes let each process do; a module of its own, so that new processes can import it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import torch
from tiny_training import ROWS, TinySource, silent, tiny_dataset, tiny_recipe

from mstedge.errors import MstedgeError
from mstedge.recipe import Recipe
from mstedge.training import engine as engine_module
from mstedge.training.campaign import Plan, run_campaign
from mstedge.training.data.dataset import Dataset
from mstedge.training.data.source import PARTS
from mstedge.training.engine import Engine, make_engine
from mstedge.training.method.setup import make_setup
from mstedge.training.method.sharing_out import share_out
from mstedge.training.models.networks import Mlp
from mstedge.training.models.registry import NETWORKS
from mstedge.training.process_group import started_with
from mstedge.training.runs import train_run

PROCESSES = 2
SHORT = {"collaborative": {"epochs": 2}, "specialise": {"epochs": 2}, "distill": {"epochs": 3}}
UNALIKE = {"modality": "sense", "network": "unalike", "options": {"widths": [12, 8]}}


def three(masks: str = "isolated", **distill: Any) -> dict[str, Any]:
    return SHORT | {"specialise": {"epochs": 2, "masks": masks}, "distill": {"epochs": 3} | distill}


# 60 training rows in batches of 17: the last one has 9, and no process has as many rows of a batch as the other.
ODD = {"learning_rate": 0.01, "batch_rows": 17}
# Recipes that shall train alike on one process and on several, by name: the method, and what the recipe changes.
ALIKE: dict[str, tuple[Any, dict[str, Any]]] = {
    "gate": ("mst", {"stages": three(top_k=2, balance_weight=5.0), "optimiser": ODD}),
    "soft": ("mst", {"stages": three(routing="soft", balance="cv", balance_weight=5.0)}),
    "straight_through": ("mst", {"stages": three("cumulative", routing="straight_through"), "cache": {"max_bytes": 0}}),
    "random": ("mst", {"stages": three(routing="random"), "cache": {"targets": "routed"}, "optimiser": ODD}),
    "correctness": ("mst", {"stages": three(routing="correctness", gate_input="detached")}),
    "labels-only": ("labels-only", {"optimiser": ODD}),
}


class Unalike(Mlp):
    """A user's network whose first weights are not those that its seed gives, and differ from process to process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        torch.nn.init.constant_(self.classifier.weight, int(os.environ.get("RANK", "0")))


if "pytest" not in sys.modules:  # in the processes that train, not in the one that tests
    NETWORKS["unalike"] = Unalike


def recipe_of(name: str, devices: int) -> Recipe:
    changes = ALIKE[name][1]
    return tiny_recipe(**changes, engine={"device": "cpu", "threads": 1, "devices": devices})


def in_float64(dataset: Dataset) -> Dataset:
    parts = {
        name: replace(part, features={key: values.astype(np.float64) for key, values in part.features.items()})
        for name, part in dataset.parts.items()
    }
    return replace(dataset, parts=parts)


@contextmanager
def computing_in_float64() -> Iterator[dict[str, float]]:
    """Let runs compute in float64, and write down what every step went down from."""
    losses: dict[str, float] = {}
    take_step = Engine.step

    def step(engine: Engine, loss: torch.Tensor, optimiser: Any, *, where: str) -> torch.Tensor:
        value = take_step(engine, loss, optimiser, where=where)
        assert value.dtype == torch.float64
        losses[where] = value.item()
        return value

    torch.set_default_dtype(torch.float64)
    with patch.object(engine_module, "_PRECISIONS", {"fp32": "64-true"}), patch.object(Engine, "step", step):
        try:
            yield losses
        finally:
            torch.set_default_dtype(torch.float32)


def train_alike(folder: Path, devices: int, rank: int = 0) -> None:
    """Train every recipe of `ALIKE`; leaves `<name>/` and, of each process, the losses in `<name>-<rank>.json`."""
    for name, (method, _changes) in ALIKE.items():
        recipe = recipe_of(name, devices)
        dataset = in_float64(tiny_dataset(recipe, unlabelled=True))
        with computing_in_float64() as losses:
            train_run(recipe, dataset, folder / name, method=method, listener=silent)
        (folder / f"{name}-{rank}.json").write_text(json.dumps(losses))


def work(folder: Path, progress: Callable[[str, int, int], None]) -> None:
    """Do everything that the tests look at; the last run is one that somebody kills."""
    started = started_with()
    assert started is not None
    rank = started.rank
    (folder / f"pid-{rank}").write_text(str(os.getpid()))
    train_alike(folder, PROCESSES, rank)
    recipe = recipe_of("gate", PROCESSES)
    engine = make_engine(msgspec.structs.replace(recipe.engine, threads=None))
    seeds: list[int] = []
    found = {
        "diverged": told(lambda: diverge(recipe, folder / "diverged" / str(rank), seeds)),
        "disagreed": told(lambda: engine.check_agreement({"data": f"digest {rank}"})),
        "noise": seeds,
        "first weights": first_weights(engine),
        "sums": sums(engine),
        "threads": engine.threads,
    }
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    for name in ("whole", "killed"):
        run_campaign(manifest_recipe(folder), Plan(), folder / name, progress=progress)


def diverge(recipe: Recipe, folder: Path, seeds: list[int]) -> None:
    """Meet a value that is too large in stage 3's second epoch, in a row that one process has."""
    dataset = tiny_dataset(recipe)
    features = dataset.parts["train"].features["sense"]

    def listen(stage: str, done: int, _epochs: int) -> None:
        seeds.append(torch.initial_seed())
        if (stage, done) == ("specialise", 2):
            features[7] = 3e38  # the rows of a run are these, not a copy

    train_run(recipe, dataset, folder, method="mst", listener=listen)


def told(action: Callable[[], object]) -> str:
    try:
        action()
    except MstedgeError as problem:
        return f"{type(problem).__name__}: {problem}"
    return "nothing"


def first_weights(engine: Engine) -> float:
    """Give the weights that a network starts from whose own are its process's rank."""
    recipe = tiny_recipe(student=UNALIKE)
    setup = make_setup(recipe, tiny_dataset(recipe), engine)
    share_out(setup, "mst")
    weights = setup.student.network.get_submodule("classifier").weight
    assert isinstance(weights, torch.Tensor)
    return float(weights.mean())


def sums(engine: Engine) -> dict[str, Any]:
    """Let the processes add up, gather, and share a step on a network of which each uses a part."""
    share = torch.tensor([1.0 + engine.rank, 2.0], requires_grad=True)
    total = engine.sum_of_shares(share)
    (total * torch.tensor([1.0, 10.0 * engine.rank])).sum().backward()
    assert share.grad is not None
    own = torch.tensor([10.0 * row for row in engine.own_rows(5)])
    parts = torch.nn.ParameterList(torch.nn.Parameter(torch.ones(1)) for _ in range(3))
    optimiser = engine.optimiser(parts, 0.1)
    engine.step(parts[engine.rank].sum(), optimiser, where="here")
    return {
        "total": total.tolist(),
        "gradient": share.grad.tolist(),
        "gathered": engine.gathered(own, 5).tolist(),
        "rows": engine.rows_of_all(torch.tensor([engine.rank, 7])),
        "gradients": [None if each.grad is None else each.grad.item() for each in parts],
    }


def manifest_recipe(folder: Path) -> Recipe:
    """Give a recipe for the rows of `write_rows`, that a command can read again from a run folder."""
    return tiny_recipe(
        data={"kind": "manifest", "path": str(folder / "rows.csv")},
        engine={"device": "cpu", "threads": 1, "devices": PROCESSES},
        optimiser=ODD,
    )


def write_rows(folder: Path) -> None:
    """Write the rows of `TinySource` as a manifest."""
    source = TinySource()
    lines = ["sense,help,label,split"]
    for part in PARTS:
        for row in range(ROWS[part]):
            for modality in ("sense", "help"):
                np.save(folder / f"{part}-{row}-{modality}.npy", source.decoded(part, modality, row).values)
            label = source.class_names[source.parts[part].labels[row]]
            lines.append(f"{part}-{row}-sense.npy,{part}-{row}-help.npy,{label},{part}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
