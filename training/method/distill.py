"""Stage 3, dynamic distillation: the router picks specialised teachers per sample (paper, section 3.4).

L = CE + mu1 (1/k) sum over the top-k teachers of KL(S || teacher) + mu2 lb; `routing` has other choices than the
top k. Teachers and masks are frozen; `targets` knows where their logits come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.training.engine import seed_from_key
from mstedge.training.method.answers import predicted_classes, scored_and_predicted, widened
from mstedge.training.method.batches import training_batches
from mstedge.training.method.divergence import LossWatch, check_finite
from mstedge.training.method.losses import BALANCES, cross_entropy, routed_kl
from mstedge.training.method.monitors import agreement, share_of_equal
from mstedge.training.method.phase import EpochResult, MetricRow, StageName
from mstedge.training.method.routing import ROUTINGS, Candidates, Choice
from mstedge.training.method.targets import targets_of

if TYPE_CHECKING:
    from mstedge.training.method.batches import Batch
    from mstedge.training.method.setup import Setup

_STREAM = 3
_DRAW_STREAM = 5
_KL_DECAY_EPOCHS = 30
_BALANCE_DECAY_EPOCHS = 10


class DistillPhase:
    """Stage 3 as the trainer runs it; the student of the lowest validation cross-entropy ships."""

    stage: StageName = "distill"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.epochs = setup.recipe.stages.distill.epochs
        for teacher in setup.specialised:
            teacher.member.network.eval().requires_grad_(requires_grad=False)
            teacher.mask.eval().requires_grad_(requires_grad=False)
        setup.student.network.requires_grad_(requires_grad=True)
        self.learning: dict[str, nn.Module] = {
            "members/student": setup.student.network,
            "router": setup.router,
        }
        together = nn.ModuleList(self.learning.values())
        rate = setup.recipe.stages.distill.learning_rate or setup.recipe.optimiser.learning_rate
        self.optimisers: tuple[Any, ...] = (setup.engine.optimiser(together, rate),)
        self._names = [each.name for each in setup.candidates]
        self._targets, self._plan = targets_of(setup)
        self._answers = {each.name: predicted_classes(setup, each, setup.validation) for each in setup.candidates}

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train student and router for one epoch."""
        setup = self._setup
        setup.student.network.train()
        setup.router.train()
        kl_weight, balance_weight = scheduled_weights(setup.recipe.stages.distill, epoch)
        watch = LossWatch(setup, f"distill epoch {epoch}")
        device = setup.engine.device
        sums, shares = torch.zeros(3, device=device), torch.zeros(len(self._names), device=device)
        draws = self._draws(epoch)
        count, batches = training_batches(setup, _STREAM, epoch)
        for batch in batches:
            terms, choice = self._terms(batch, draws)
            cross_entropy_term, kl, balance = terms
            loss = cross_entropy_term + kl_weight * kl + balance_weight * balance
            watch.take_step(loss, self.optimisers[0], batch)
            sums += torch.stack([each.detach() for each in terms])
            shares += choice.share_of(len(shares)) * (len(batch.index) / batch.rows)
        watch.look()
        row = self._row(sums / count, (kl_weight, balance_weight))
        return self._scored(row, setup.engine.sum_of_shares(shares / count), epoch)

    def closing_rows(self) -> list[MetricRow]:
        """Measure nothing more."""
        return []

    def _terms(self, batch: Batch, draws: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Choice]:
        """Give this process's share of cross-entropy, KL and balance, and who teaches."""
        setup = self._setup
        config = setup.recipe.stages.distill
        with setup.engine.fabric.autocast():
            logits = widened(setup.student.logits(batch.features))
            gate = widened(setup.router(logits if config.gate_input == "attached" else logits.detach()))
        drawn = draws[batch.index] if config.routing == "random" else draws
        candidates = Candidates(gate, lambda: self._targets.of_all(batch), batch.labels, drawn, config.top_k)
        choice = ROUTINGS[config.routing](candidates)
        routed = self._targets.of_all(batch) if choice.everybody else self._targets.of_chosen(batch, choice.teachers)
        kl = routed_kl(logits, routed, choice.weights, temperature=setup.recipe.temperature, rows=batch.rows)
        mean_gate = setup.engine.sum_of_shares(gate.sum(dim=0) / batch.rows)
        balance = BALANCES[config.balance](mean_gate) / setup.engine.processes
        return (cross_entropy(logits, batch.labels, counted=batch.labelled), kl, balance), choice

    def _draws(self, epoch: int) -> Tensor:
        """Draw uniform numbers [rows, K] where they are asked for: those of the epoch, whatever was drawn before."""
        setup = self._setup
        rows = len(setup.train) if setup.recipe.stages.distill.routing == "random" else 0
        generator = torch.Generator().manual_seed(seed_from_key((setup.recipe.seed, _DRAW_STREAM, epoch)))
        drawn = torch.rand((rows, len(self._names)), generator=generator, dtype=torch.float32)
        return drawn.to(setup.engine.device)

    def _row(self, shares: Tensor, weights: tuple[float, float]) -> MetricRow:
        """Put the epoch's means into words."""
        ce, kl, balance = self._setup.engine.sum_of_shares(shares).tolist()
        kl_weight, balance_weight = weights
        return {
            "loss": ce + kl_weight * kl + balance_weight * balance,
            "cross_entropy": ce,
            "kl": kl,
            "balance": balance,
            "kl_weight": kl_weight,
            "balance_weight": balance_weight,
        }

    def _scored(self, row: MetricRow, shares: Tensor, epoch: int) -> EpochResult:
        setup = self._setup
        scorer, predicted = scored_and_predicted(setup, setup.student, setup.validation)
        score = scorer.cross_entropy
        check_finite(self.learning, score, where=f"distill epoch {epoch}")
        routing = dict(zip(self._names, shares.tolist(), strict=True))
        row |= {
            "routing": routing,
            "routing_entropy": float(torch.special.entr(shares).sum()),
            "validation_cross_entropy": score,
            "validation_accuracy": scorer.accuracy,
            "agreement": {name: share_of_equal(predicted, each) for name, each in self._answers.items()},
        }
        if epoch == 0:
            row["teacher_agreement"] = agreement(self._answers)
            row["targets"] = {"kept": self._plan.kept, "bytes": self._plan.table_bytes, "reason": self._plan.reason}
        alarm = setup.watch.alarm(routing, setup.recipe.stages.distill.top_k)
        return EpochResult([row | {"alarm": alarm} if alarm else row], score)


def scheduled_weights(config: Any, epoch: int) -> tuple[float, float]:
    """Give mu1 and mu2 of an epoch.

    The decays apply after epochs 0, 30, 60, ... and 0, 10, 20, ...: at epoch e they have been applied
    ceil(e / 30) and ceil(e / 10) times.

    Args:
        config: The stage's part of the recipe.
        epoch: Counted from 0.
    """
    kl_steps = -(-epoch // _KL_DECAY_EPOCHS)
    balance_steps = -(-epoch // _BALANCE_DECAY_EPOCHS)
    return config.kl_weight * config.kl_decay**kl_steps, config.balance_weight * config.balance_decay**balance_steps
