"""What a step takes and leaves: features that nobody asks for are not put together, and no batch is kept."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from tiny_training import tiny_dataset, tiny_recipe, whole_batch

from mstedge.training.engine import Engine, make_engine
from mstedge.training.method.batches import Batch, training_batches
from mstedge.training.method.distill import DistillPhase
from mstedge.training.method.divergence import LossWatch
from mstedge.training.method.routing import Choice
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.rows import TakenFeatures


@pytest.fixture
def setup() -> Setup:
    recipe = tiny_recipe()
    return make_setup(recipe, tiny_dataset(recipe), make_engine(recipe.engine))


def test_stage_3_puts_together_the_students_features_alone(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    phase = DistillPhase(setup)
    asked: set[str] = set()
    give = TakenFeatures.__getitem__

    def noted(features: TakenFeatures, name: str) -> torch.Tensor:
        asked.add(name)
        return give(features, name)

    monkeypatch.setattr(TakenFeatures, "__getitem__", noted)
    phase.run_epoch(0)
    assert asked == {"sense"}


def test_watch_over_losses_keeps_no_features(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    # A loss that is not on the CPU is looked at some steps later.
    monkeypatch.setattr(Engine, "step", lambda *_given, **_where: torch.empty((), device="meta"))
    watch = LossWatch(setup, "distill epoch 0")

    def step(batch: Batch) -> weakref.ref[Any]:
        watch.take_step(torch.zeros(()), None, batch)
        return weakref.ref(batch.features["help"])

    features = step(whole_batch(setup))
    gc.collect()
    assert features() is None


def test_batches_are_the_rows_of_their_index(setup: Setup) -> None:
    count, batches = training_batches(setup, 3, 0)
    everything = setup.train.take(torch.arange(len(setup.train)))
    met = list(batches)
    assert count == len(met)
    for batch in met:
        assert set(batch.features) == {"sense", "help"}
        for name, values in batch.features.items():
            assert torch.equal(values, everything.features[name][batch.index])
        assert torch.equal(batch.labels, everything.labels[batch.index])


def test_shares_count_each_teacher() -> None:
    teachers = torch.tensor([[0, 2], [2, 3], [2, 0]])
    assert torch.equal(Choice(teachers).share_of(5), torch.tensor([2, 0, 3, 1, 0]) / 6)
