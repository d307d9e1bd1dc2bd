"""The product against the straightforward way of training: in float64 the loss of every step of every stage is equal.

Same first weights, same batches; the oracle has hooks, full attention weights, no freezing and nothing kept, the
product whatever saves time. 1e-9 relative is far above what rounding does (2e-14 was seen), and far below what a slip
does: a temperature that is wrong by one part in four thousand moves a loss by 8e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from oracle_training import Batches, Oracle
from tiny_training import CLASSES, ROWS, TinySource, silent, tiny_dataset, tiny_recipe

from mstedge.recipe import Recipe
from mstedge.training.data.dataset import Dataset, Part
from mstedge.training.data.source import PARTS, UNLABELLED
from mstedge.training.engine import Engine, shuffled_batches
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.trainer import Trainer

PICTURE = (1, 12, 10)


@pytest.fixture
def _float64() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


pytestmark = pytest.mark.usefixtures("_float64")


def stages(masks: str = "isolated", **distill: Any) -> dict[str, Any]:
    """Give short stages; `distill` changes the third."""
    return {
        "collaborative": {"epochs": 2},
        "specialise": {"epochs": 2, "masks": masks},
        "distill": {"epochs": 3} | distill,
    }


def in_float64(recipe: Recipe, dataset: Dataset) -> Setup:
    parts = {
        name: replace(part, features={key: values.astype(np.float64) for key, values in part.features.items()})
        for name, part in dataset.parts.items()
    }
    engine = Engine(Fabric(accelerator="cpu", devices=1, precision="64-true"), threads=1)
    return make_setup(recipe, replace(dataset, parts=parts), engine)


def batches_of(recipe: Recipe) -> Batches:
    keys: dict[str, Callable[[int, int], tuple[int, ...]]] = {
        "collaborative": lambda epoch, _position: (recipe.seed, 1, epoch),
        "specialise": lambda epoch, _position: (recipe.seed, 2, epoch),
        "distill": lambda epoch, _position: (recipe.seed, 3, epoch),
    }

    def batches(stage: str, epoch: int, position: int) -> list[torch.Tensor]:
        key = keys[stage](epoch, position)
        return list(shuffled_batches(ROWS["train"], recipe.optimiser.batch_rows, key=key))

    return batches


def losses_of_product(setup: Setup, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Train as `mstedge distill` does, and write down what every step of the engine went down from."""
    losses: dict[str, float] = {}
    take_step = Engine.step

    def step(engine: Engine, loss: torch.Tensor, optimiser: Any, *, where: str) -> torch.Tensor:
        assert loss.dtype == torch.float64
        value = take_step(engine, loss, optimiser, where=where)
        losses[where] = value.item()
        return value

    monkeypatch.setattr(Engine, "step", step)
    recorder: Any = SimpleNamespace(rows=0, record=lambda *_row: None)
    Trainer(setup, "mst", folder, recorder, silent).train()
    return losses


def farthest(one: dict[str, float], other: dict[str, float]) -> float:
    """Give the largest relative difference of any step."""
    assert one.keys() == other.keys()
    return max(abs(one[where] - other[where]) / abs(other[where]) for where in one)


def check(recipe: Recipe, dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = in_float64(recipe, dataset)
    oracle = Oracle.copied_from(setup, batches_of(recipe))
    expected = dict(oracle.steps())
    losses = losses_of_product(setup, folder, monkeypatch)
    steps = math.ceil(ROWS["train"] / recipe.optimiser.batch_rows)
    three = recipe.stages
    masks = len(setup.specialised) if three.distill.routing != "unmasked" else 0
    passes = three.collaborative.epochs + three.specialise.epochs * masks + three.distill.epochs
    assert len(expected) == steps * passes
    assert farthest(losses, expected) < 1e-9
    for name, value in setup.student.network.state_dict().items():
        torch.testing.assert_close(value, oracle.student.network.state_dict()[name], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("masks", ["isolated", "cumulative"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_vector_taps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str, top_k: int) -> None:
    recipe = tiny_recipe(stages=stages(masks, top_k=top_k))
    check(recipe, tiny_dataset(recipe), tmp_path, monkeypatch)


@pytest.mark.parametrize("masks", ["isolated", "cumulative"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_map_taps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str, top_k: int) -> None:
    recipe = picture_recipe(stages(masks, top_k=top_k))
    check(recipe, picture_dataset(recipe), tmp_path, monkeypatch)


def test_schedules_over_many_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(stages=stages(epochs=32, kl_weight=0.7, balance_weight=2.0, learning_rate=1e-3))
    check(recipe, tiny_dataset(recipe), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "distill",
    [
        {"routing": "soft"},
        {"routing": "straight_through", "top_k": 2},
        {"routing": "mean", "balance": "cv"},
        {"routing": "unmasked"},
        {"routing": "correctness", "gate_input": "detached"},
        {"routing": "gate", "gate_input": "detached", "balance": "cv"},
    ],
    ids=str,
)
def test_other_ways_to_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distill: dict[str, Any]) -> None:
    recipe = tiny_recipe(stages=stages(**distill))
    check(recipe, tiny_dataset(recipe, unlabelled=True), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "change", [{"temperature": 3.999}, {"optimiser": {"learning_rate": 0.01001, "batch_rows": 16}}]
)
def test_a_slip_of_a_thousandth_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    recipe = tiny_recipe(stages=stages())
    setup = in_float64(recipe, tiny_dataset(recipe))
    expected = dict(Oracle.copied_from(setup, batches_of(recipe)).steps())
    changed = in_float64(tiny_recipe(stages=stages(), **change), tiny_dataset(recipe))
    assert farthest(losses_of_product(changed, tmp_path, monkeypatch), expected) > 1e-6


def picture_recipe(three: dict[str, Any]) -> Recipe:
    """A vector student beside teachers that are tapped at maps: two in the helper, as published for AV-MNIST."""
    cnn = {"channels": [6, 9], "hidden": 12}
    teachers = [
        {"name": "both", "modalities": ["picture", "sense"], "network": "fusion", "taps": ["trunks.0.4", "hidden"]},
        {"name": "helper", "modalities": ["picture"], "network": "cnn", "taps": ["trunk.0", "trunk.4"], "options": cnn},
    ]
    teachers[0]["options"] = cnn
    return tiny_recipe(
        modalities={"sense": {"kind": "array", "shape": [8]}, "picture": {"kind": "array", "shape": list(PICTURE)}},
        teachers=teachers,
        stages=three,
    )


def picture_dataset(recipe: Recipe) -> Dataset:
    """Bright bars in noise, one place for each class, beside the vectors of `TinySource`."""
    source = TinySource()
    generator = np.random.default_rng(2)
    parts: dict[Any, Part] = {}
    for name in PARTS:
        labels = np.arange(ROWS[name]) % len(CLASSES)
        pictures = 0.3 * generator.normal(size=(ROWS[name], *PICTURE))
        for row, label in enumerate(labels):
            pictures[row, :, 4 * label : 4 * label + 2] += 1
        shown = np.where(np.arange(len(labels)) % 3 == 0, UNLABELLED, labels) if name == "train" else labels
        vectors = np.stack([source.decoded(name, "sense", row).values for row in range(len(labels))])
        features = {"sense": vectors.astype(np.float32), "picture": pictures.astype(np.float32)}
        parts[name] = Part(features, shown.astype(np.int64), source.parts[name].ids, source.parts[name].clusters)
    return Dataset(source, CLASSES, dict(recipe.modalities), parts, sha256="0" * 64)
