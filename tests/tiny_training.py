"""A source of made-up pairs that trains in a second, for tests of everything round the training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mstedge.recipe import Recipe
from mstedge.runtime.preprocess import Decoded
from mstedge.schema import convert
from mstedge.training.data.dataset import Dataset, build_dataset
from mstedge.training.data.source import PARTS, UNLABELLED, PartIndex, PartName, RawFile
from mstedge.training.method.batches import Batch, training_batches
from mstedge.training.method.setup import Setup
from mstedge.training.method.targets import targets_of

ROWS = {"train": 60, "validation": 24, "test": 24}
CLASSES = ("left", "middle", "right")


class TinySource:
    """Three classes seen by a noisy vector (`sense`), a clear one (`help`) and a third (`extra`)."""

    class_names = CLASSES
    licence = "made up"
    shareable = False

    def __init__(self, *, unlabelled: bool = False) -> None:
        generator = np.random.default_rng(5)
        self._values: dict[tuple[str, str], NDArray[Any]] = {}
        self.parts: dict[PartName, PartIndex] = {}
        for part in PARTS:
            labels = np.arange(ROWS[part]) % 3
            for modality, width, noise in (("sense", 8, 1.0), ("help", 6, 0.3), ("extra", 5, 0.6)):
                centres = np.eye(3, width) * 2
                values = centres[labels] + noise * generator.normal(size=(ROWS[part], width))
                self._values[part, modality] = values.astype(np.float32)
            ids = tuple(f"{part}{row}" for row in range(ROWS[part]))
            shown = np.where(np.arange(ROWS[part]) % 2 == 0, labels, UNLABELLED) if unlabelled else labels
            self.parts[part] = PartIndex(shown.astype(np.int64), ids, ids)

    def decoded(self, part: PartName, modality: str, row: int) -> Decoded:
        return Decoded(values=self._values[part, modality][row])

    def raw_file(self, part: PartName, modality: str, row: int) -> RawFile:
        raise NotImplementedError


def tiny_recipe(**changes: Any) -> Recipe:
    """Give a recipe for `TinySource`; keys of `changes` are top-level keys of a recipe."""
    values = {
        "name": "tiny",
        "data": {"kind": "manifest", "path": "made-up.csv"},
        "modalities": {
            "sense": {"kind": "array", "shape": [8]},
            "help": {"kind": "array", "shape": [6]},
        },
        "student": {"modality": "sense", "network": "mlp", "options": {"widths": [12, 8]}},
        "teachers": [
            {
                "name": "both",
                "modalities": ["sense", "help"],
                "network": "fusion",
                "taps": ["fused", "hidden"],
                "options": {"channels": [6], "hidden": 12},
            },
            {
                "name": "helper",
                "modalities": ["help"],
                "network": "mlp",
                "taps": ["hidden"],
                "options": {"widths": [12, 8]},
            },
        ],
        "labels": {"fraction": 0.5},
        "stages": {"collaborative": {"epochs": 3}, "specialise": {"epochs": 2}, "distill": {"epochs": 3}},
        "optimiser": {"learning_rate": 0.01, "batch_rows": 16},
        "engine": {"device": "cpu", "threads": 1},
    }
    return convert(values | changes, Recipe, source="tiny recipe")


def tiny_dataset(recipe: Recipe, *, unlabelled: bool = False) -> Dataset:
    """Build the features of `TinySource`."""
    source = TinySource(unlabelled=unlabelled)
    return build_dataset(source, recipe.modalities, labelled_fraction=recipe.labels.fraction, seed=recipe.seed)


def whole_batch(setup: Setup) -> Batch:
    """Give all training rows as one batch, in their order."""
    _count, batches = training_batches(setup, 3, 0, [torch.arange(len(setup.train))])
    return next(iter(batches))


def table_of(setup: Setup) -> torch.Tensor:
    """Give what every teacher of stage 3 answers for every training row: [rows, K, classes, *places]."""
    return targets_of(setup)[0].of_all(whole_batch(setup))


def silent(_what: str, _done: int, _total: int) -> None:
    """Hear of progress and say nothing."""
