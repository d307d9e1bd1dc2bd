"""The product and the oracle side by side: same first weights, same batches, in float64, the loss of every step."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from oracle_training import Batches, Oracle
from oracle_training import Rows as OracleRows
from tiny_training import CLASSES, ROWS, TinySource, silent

from mstedge.recipe import Recipe
from mstedge.training.augment import augmented
from mstedge.training.data.dataset import Dataset, Part
from mstedge.training.data.source import PARTS, UNLABELLED
from mstedge.training.engine import Engine, seed_from_key, shuffled_batches
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.trainer import Trainer

_STREAMS = {"collaborative": 1, "specialise": 2, "distill": 3}
_AUGMENT_STREAM = 7


def in_float64(recipe: Recipe, dataset: Dataset) -> Setup:
    parts = {
        name: replace(part, features={key: values.astype(np.float64) for key, values in part.features.items()})
        for name, part in dataset.parts.items()
    }
    engine = Engine(Fabric(accelerator="cpu", devices=1, precision="64-true"), threads=1)
    return make_setup(recipe, replace(dataset, parts=parts), engine)


def batches_of(setup: Setup) -> Batches:
    recipe, rows = setup.recipe, len(setup.train)

    def batches(stage: str, epoch: int, _position: int) -> list[torch.Tensor]:
        key = (recipe.seed, _STREAMS[stage], epoch)
        return list(shuffled_batches(rows, recipe.optimiser.batch_rows, key=key))

    return batches


def lively(setup: Setup) -> Setup:
    """Make deep networks fit for a comparison after three steps.

    Torch's own first weights, with averages over so few steps in BatchNorm, let networks as deep as FuseNet answer next
    to nothing, and no mask would matter: those of He et al. 2015 do not. A bias before BatchNorm has no gradient but
    rounding, which Adam makes as large as any other: it is left out.
    """
    for member in setup.members:
        for module in member.network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data.mul_(math.sqrt(6))
            for layer, following in pairwise(module) if isinstance(module, torch.nn.Sequential) else ():
                if isinstance(following, torch.nn.BatchNorm2d):
                    layer.bias = None
    return setup


def oracle_of(setup: Setup) -> Oracle:
    """Copy first weights and rows; features are varied as the product says that it does."""
    oracle = Oracle.copied_from(setup, batches_of(setup))
    if setup.recipe.augment:

        def vary(stage: str, epoch: int, step: int, rows: OracleRows) -> OracleRows:
            seed = seed_from_key((setup.recipe.seed, _AUGMENT_STREAM, _STREAMS[stage], epoch, step, 0))
            drawn = torch.Generator().manual_seed(seed)
            return OracleRows(augmented(rows.features, setup.recipe.augment, drawn), rows.labels)

        oracle.vary = vary
    return oracle


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
    """Let both train from start to end, and compare every step and what comes out."""
    setup = lively(in_float64(recipe, dataset))
    oracle = oracle_of(setup)
    expected = dict(oracle.steps())
    losses = losses_of_product(setup, folder, monkeypatch)
    steps = math.ceil(len(setup.train) / recipe.optimiser.batch_rows)
    three = recipe.stages
    masks = len(setup.specialised) if three.distill.routing != "unmasked" else 0
    passes = three.collaborative.epochs + three.specialise.epochs * masks + three.distill.epochs
    assert len(expected) == steps * passes
    assert farthest(losses, expected) < 1e-9
    for name, value in setup.student.network.state_dict().items():
        torch.testing.assert_close(value, oracle.student.network.state_dict()[name], rtol=1e-7, atol=1e-9)


def made_dataset(recipe: Recipe, features: dict[str, dict[str, Any]], labels: dict[str, Any]) -> Dataset:
    """Put features of each part and modality together; the source names rows and classes."""
    source = TinySource()
    parts: dict[Any, Part] = {}
    for name in PARTS:
        ids = source.parts[name].ids[: len(labels[name])]
        parts[name] = Part(
            {key: each.astype(np.float32) for key, each in features[name].items()}, labels[name], ids, ids
        )
    return Dataset(source, CLASSES, dict(recipe.modalities), parts, sha256="0" * 64)


def picture_dataset(recipe: Recipe, shape: tuple[int, int, int]) -> Dataset:
    """Bright bars in noise, one place for each class, beside the vectors of `TinySource`."""
    source = TinySource()
    generator = np.random.default_rng(2)
    features: dict[str, dict[str, Any]] = {}
    shown: dict[str, Any] = {}
    for name in PARTS:
        labels = np.arange(ROWS[name]) % len(CLASSES)
        pictures = 0.3 * generator.normal(size=(ROWS[name], *shape))
        for row, label in enumerate(labels):
            pictures[row, :, 4 * label : 4 * label + 2] += 1
        vectors = np.stack([source.decoded(name, "sense", row).values for row in range(len(labels))])
        features[name] = {"sense": vectors, "picture": pictures}
        hidden = (np.arange(len(labels)) % 3 == 0) & (name == "train")
        shown[name] = np.where(hidden, UNLABELLED, labels).astype(np.int64)
    return made_dataset(recipe, features, shown)


def map_dataset(recipe: Recipe, sides: tuple[int, int], rows: dict[str, int]) -> Dataset:
    """Random maps: a class for every place, seen in noisy colours and as a noisy depth; some places have no label."""
    generator = np.random.default_rng(3)
    features: dict[str, dict[str, Any]] = {}
    shown: dict[str, Any] = {}
    for name in PARTS:
        coarse = generator.integers(0, len(CLASSES), (rows[name], sides[0] // 8, sides[1] // 8))
        classes = coarse.repeat(8, axis=1).repeat(8, axis=2)
        noise = generator.normal(size=(rows[name], 4, *sides))
        colours = np.eye(3)[classes].transpose(0, 3, 1, 2) + noise[:, :3]
        features[name] = {"rgb": colours, "depth": classes[:, None] + 0.5 * noise[:, 3:]}
        unknown = generator.random(classes.shape) < 0.2
        if name == "train":
            unknown[1] = True
        shown[name] = np.where(unknown, UNLABELLED, classes).astype(np.int16)
    return made_dataset(recipe, features, shown)
