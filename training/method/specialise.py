"""Stage 2, specialised teacher adaptation: one MaskNet per tap, everything else frozen (paper, section 3.3).

Loss KL(masked teacher || student) over all rows, no cross-entropy; the masks of the epoch with the lowest mean
validation KL go on. For each batch a teacher runs once up to its taps, whatever their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mstedge.training.method.answers import answers_of, evaluating, pieces, widened
from mstedge.training.method.batches import training_batches
from mstedge.training.method.divergence import LossWatch, check_finite
from mstedge.training.method.losses import softened_kl, softened_kl_rows
from mstedge.training.method.phase import EpochResult, MetricRow, StageName
from mstedge.training.method.tapped import tapped_features

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from mstedge.training.method.batches import Batch
    from mstedge.training.method.members import Member
    from mstedge.training.method.setup import Setup
    from mstedge.training.rows import Rows

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
        self._optimiser_of = {each.name: mine for each, mine in zip(setup.specialised, self.optimisers, strict=True)}
        self._sharings = setup.sharings
        self._validation_target = answers_of(setup, setup.student, setup.validation, varied=False)
        if self.epochs:
            self._target = answers_of(setup, setup.student, setup.train, varied=bool(setup.recipe.augment))
            self._tapped = tapped_features(setup, self._sharings, passes=self.epochs)

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train every mask for one epoch, each alone."""
        setup = self._setup
        for teacher in setup.specialised:
            teacher.mask.train()
        watches = {each.name: LossWatch(setup, f"specialise {each.name} epoch {epoch}") for each in setup.specialised}
        sums = {each.name: torch.zeros((), device=setup.engine.device) for each in setup.specialised}
        count, batches = training_batches(setup, _STREAM, epoch)
        for batch in batches:
            for name, loss in self._step(batch, watches).items():
                sums[name] += loss / count
        for watch in watches.values():
            watch.look()
        distances = self._distances()
        rows: list[MetricRow] = [
            {"teacher": name, "loss": float(sums[name]), "validation_kl": distance}
            for name, distance in distances.items()
        ]
        score = sum(row["validation_kl"] for row in rows) / len(rows)
        check_finite(self.learning, score, where=f"specialise epoch {epoch}")
        return EpochResult(rows, score)

    def closing_rows(self) -> list[MetricRow]:
        """Measure how far each teacher is from the student without and with its mask, on validation rows."""
        if not self._masked:
            return []
        before = {each.name: self._distance(each) for each in self._setup.teachers}
        after = self._distances()
        return [
            {"teacher": each.name, "kl_before": before[each.member.name], "kl_after": after[each.name]}
            for each in self._setup.specialised
        ]

    def _step(self, batch: Batch, watches: dict[str, LossWatch]) -> dict[str, Tensor]:
        """Let every mask take a step on the same rows."""
        setup = self._setup
        target = self._target.at(batch.index, batch.features)
        losses: dict[str, Tensor] = {}
        for sharing, tapped in zip(self._sharings, self._tapped, strict=True):
            with setup.engine.fabric.autocast():
                crossings = tapped.at(batch)
            for teacher in sharing.teachers:
                with setup.engine.fabric.autocast():
                    logits = widened(sharing.logits(teacher, batch.features, crossings))
                loss = softened_kl(logits, target, setup.recipe.temperature, rows=batch.rows)
                losses[teacher.name] = watches[teacher.name].take_step(loss, self._optimiser_of[teacher.name], batch)
        return losses

    def _distances(self) -> dict[str, float]:
        """Measure the mean KL(teacher || student) of every specialised teacher on validation rows."""
        setup = self._setup
        totals = {each.name: torch.zeros((), dtype=torch.float64) for each in setup.specialised}
        networks = [network for each in setup.specialised for network in each.networks]
        with evaluating(*networks):
            for target, rows in self._validation_targets():
                for sharing in self._sharings:
                    crossings = sharing.crossings(rows.features)
                    for teacher in sharing.teachers:
                        logits = sharing.logits(teacher, rows.features, crossings)
                        totals[teacher.name] += self._summed(logits, target)
        return {name: float(total) / len(setup.validation) for name, total in totals.items()}

    def _distance(self, teacher: Member) -> float:
        """Measure the mean KL(teacher || student) of a teacher without masks on validation rows."""
        total = torch.zeros((), dtype=torch.float64)
        with evaluating(*teacher.networks):
            for target, rows in self._validation_targets():
                total += self._summed(teacher.logits(rows.features), target)
        return float(total) / len(self._setup.validation)

    def _summed(self, logits: Tensor, target: Tensor) -> Tensor:
        return softened_kl_rows(logits, target, self._setup.recipe.temperature).sum(dtype=torch.float64).cpu()

    def _validation_targets(self) -> Iterator[tuple[Tensor, Rows]]:
        """Give the student's logits of the validation rows, and those rows, piece by piece."""
        validation = self._setup.validation
        cut = pieces(validation, self._setup.recipe.optimiser.batch_rows)
        for index, rows in zip(cut, validation.batches(cut), strict=True):
            yield self._validation_target.at(index, rows.features), rows
