"""The control: the same student, the same number of steps, labelled rows alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mstedge.training.data.source import UNLABELLED
from mstedge.training.engine import seed_from_key
from mstedge.training.method.divergence import check_finite, take_step
from mstedge.training.method.losses import cross_entropy
from mstedge.training.method.phase import EpochResult, MetricRow, StageName
from mstedge.training.method.setup import Setup, all_logits
from mstedge.training.scores import accuracy

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
        self._labelled = torch.nonzero(setup.train.labels != UNLABELLED).flatten()

    def run_epoch(self, epoch: int) -> EpochResult:
        """Take as many steps as an epoch over all rows has."""
        setup = self._setup
        setup.student.network.train()
        losses: list[float] = []
        for step, index in enumerate(self._batches(epoch)):
            batch = setup.train.take(index)
            with setup.engine.fabric.autocast():
                logits = setup.student.logits(batch.features)
            loss = cross_entropy(logits, batch.labels)
            where = f"labels-only epoch {epoch} step {step}"
            losses.append(take_step(setup, loss, self.optimisers[0], index=index, where=where))
        logits = all_logits(setup.student, setup.validation)
        score = float(cross_entropy(logits, setup.validation.labels))
        check_finite(self.learning, score, where=f"labels-only epoch {epoch}")
        row: MetricRow = {
            "loss": sum(losses) / len(losses),
            "validation_cross_entropy": score,
            "validation_accuracy": accuracy(logits, setup.validation.labels),
        }
        return EpochResult([row], score)

    def closing_rows(self) -> list[MetricRow]:
        """Measure nothing more."""
        return []

    def _batches(self, epoch: int) -> list[torch.Tensor]:
        """Draw labelled rows, pass after pass, until the epoch has its number of steps."""
        setup = self._setup
        batch_rows = min(setup.recipe.optimiser.batch_rows, len(self._labelled))
        steps = max(1, len(setup.train) // setup.recipe.optimiser.batch_rows)
        generator = torch.Generator().manual_seed(seed_from_key((setup.recipe.seed, _STREAM, epoch)))
        passes = -(-steps * batch_rows // len(self._labelled))
        order = torch.cat([torch.randperm(len(self._labelled), generator=generator) for _ in range(passes)])
        rows = self._labelled[order.to(self._labelled.device)]
        return list(torch.split(rows[: steps * batch_rows], batch_rows))
