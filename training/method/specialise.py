"""Stage 2, specialised teacher adaptation: one MaskNet per tap, everything else frozen (paper, section 3.3).

Loss KL(masked teacher || student) over all rows, no cross-entropy; the masks of the epoch with the lowest mean
validation KL go on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mstedge.training.engine import shuffled_batches
from mstedge.training.method.divergence import check_finite, take_step
from mstedge.training.method.losses import softened_kl
from mstedge.training.method.phase import EpochResult, MetricRow, StageName
from mstedge.training.method.setup import Setup, SpecialisedTeacher, all_logits

_STREAM = 2


class SpecialisePhase:
    """Stage 2 as the trainer runs it; where stage 3 routes `unmasked`, nobody needs the masks and it is left out."""

    stage: StageName = "specialise"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._masked = setup.recipe.stages.distill.routing != "unmasked"
        self.epochs = setup.recipe.stages.specialise.epochs if self._masked else 0
        self.learning: dict[str, nn.Module] = {f"masks/{teacher.name}": teacher.mask for teacher in setup.specialised}
        rate = setup.recipe.stages.specialise.learning_rate or setup.recipe.optimiser.learning_rate
        self.optimisers: tuple[Any, ...] = tuple(setup.engine.optimiser(each.mask, rate) for each in setup.specialised)
        for member in setup.members:
            member.network.eval().requires_grad_(requires_grad=False)
        self._target = all_logits(setup.student, setup.train)
        self._validation_target = all_logits(setup.student, setup.validation)

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train every mask for one epoch, each alone."""
        rows = [self._train_mask(position, teacher, epoch) for position, teacher in enumerate(self._setup.specialised)]
        score = sum(row["validation_kl"] for row in rows) / len(rows)
        check_finite(self.learning, score, where=f"specialise epoch {epoch}")
        return EpochResult(rows, score)

    def closing_rows(self) -> list[MetricRow]:
        """Measure how far each teacher is from the student without and with its mask, on validation rows."""
        return [
            {
                "teacher": teacher.name,
                "kl_before": self._distance(teacher.member),
                "kl_after": self._distance(teacher),
            }
            for teacher in self._setup.specialised
            if self._masked
        ]

    def _train_mask(self, position: int, teacher: SpecialisedTeacher, epoch: int) -> MetricRow:
        setup = self._setup
        teacher.mask.train()
        losses: list[float] = []
        key = (setup.recipe.seed, _STREAM, epoch, position)
        for step, index in enumerate(
            shuffled_batches(len(setup.train), setup.recipe.optimiser.batch_rows, key=key, device=setup.engine.device)
        ):
            with setup.engine.fabric.autocast():
                logits = teacher.logits(setup.train.take(index).features)
            loss = softened_kl(logits, self._target[index], setup.recipe.temperature)
            where = f"specialise {teacher.name} epoch {epoch} step {step}"
            losses.append(take_step(setup, loss, self.optimisers[position], index=index, where=where))
        return {
            "teacher": teacher.name,
            "loss": sum(losses) / len(losses),
            "validation_kl": self._distance(teacher),
        }

    def _distance(self, teacher: Any) -> float:
        with torch.no_grad():
            logits = all_logits(teacher, self._setup.validation)
            return float(softened_kl(logits, self._validation_target, self._setup.recipe.temperature))
