"""The control: the same student, the same number of steps, labelled rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mstedge.training.engine import seed_from_key
from mstedge.training.method.answers import evaluated, widened
from mstedge.training.method.batches import training_batches
from mstedge.training.method.divergence import LossWatch, check_finite
from mstedge.training.method.losses import cross_entropy
from mstedge.training.method.phase import EpochResult, MetricRow, StageName

if TYPE_CHECKING:
    from mstedge.training.method.setup import Setup

_STREAM = 4


class LabelsOnlyPhase:
    """Plain training with as many steps as the student takes in stages 1 and 3; the best validation CE is kept."""

    stage: StageName = "labels-only"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        stages = setup.recipe.stages
        self.epochs = stages.collaborative.epochs + stages.distill.epochs
        self.learning: dict[str, nn.Module] = {"members/student": setup.student.network}
        rate = setup.recipe.optimiser.learning_rate
        self.optimisers: tuple[Any, ...] = (setup.engine.optimiser(setup.student.network, rate),)
        self._labelled = torch.nonzero(setup.train.labelled).flatten()

    def run_epoch(self, epoch: int) -> EpochResult:
        """Take as many steps as an epoch over all rows has."""
        setup = self._setup
        setup.student.network.train()
        watch = LossWatch(setup, f"labels-only epoch {epoch}")
        total = torch.zeros((), device=setup.engine.device)
        count, batches = training_batches(setup, _STREAM, epoch, self._orders(epoch))
        for batch in batches:
            with setup.engine.fabric.autocast():
                logits = widened(setup.student.logits(batch.features))
            loss = cross_entropy(logits, batch.labels, counted=batch.labelled)
            total += watch.take_step(loss, self.optimisers[0], batch) / count
        watch.look()
        scorer = evaluated(setup, setup.student, setup.validation)
        score = scorer.cross_entropy
        check_finite(self.learning, score, where=f"labels-only epoch {epoch}")
        row: MetricRow = {
            "loss": float(total),
            "validation_cross_entropy": score,
            "validation_accuracy": scorer.accuracy,
        }
        return EpochResult([row], score)

    def closing_rows(self) -> list[MetricRow]:
        """Measure nothing more."""
        return []

    def _orders(self, epoch: int) -> list[torch.Tensor]:
        """Draw labelled rows, pass after pass, until the epoch has its number of steps."""
        setup = self._setup
        batch_rows = min(setup.recipe.optimiser.batch_rows, len(self._labelled))
        steps = max(1, len(setup.train) // setup.recipe.optimiser.batch_rows)
        generator = torch.Generator().manual_seed(seed_from_key((setup.recipe.seed, _STREAM, epoch)))
        passes = -(-steps * batch_rows // len(self._labelled))
        order = torch.cat([torch.randperm(len(self._labelled), generator=generator) for _ in range(passes)])
        return list(torch.split(self._labelled[order][: steps * batch_rows], batch_rows))
