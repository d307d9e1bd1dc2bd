"""Stage 3, dynamic distillation: the router picks specialised teachers per sample (paper, section 3.4).

L = CE + mu1 (1/k) sum over the top-k teachers of KL(S || teacher) + mu2 lb; `routing` has other choices than the
top k. Teachers and masks are frozen and inputs are not augmented, so each teacher's logits are needed once: a table
[rows, K, classes].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mstedge.training.engine import seed_from_key, shuffled_batches
from mstedge.training.method.divergence import check_finite, take_step
from mstedge.training.method.losses import BALANCES, chosen_kl, cross_entropy
from mstedge.training.method.monitors import agreement
from mstedge.training.method.phase import EpochResult, MetricRow, StageName
from mstedge.training.method.routing import ROUTINGS, Candidates, Choice
from mstedge.training.method.setup import Setup, all_logits
from mstedge.training.scores import accuracy

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
        self._table = torch.stack([all_logits(teacher, setup.train) for teacher in setup.candidates], dim=1)
        self._answers = {each.name: all_logits(each, setup.validation).argmax(dim=1) for each in setup.candidates}

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train student and router for one epoch."""
        setup = self._setup
        setup.student.network.train()
        setup.router.train()
        kl_weight, balance_weight = scheduled_weights(setup.recipe.stages.distill, epoch)
        sums = torch.zeros(4)
        shares = torch.zeros(len(setup.candidates), device=setup.engine.device)
        draws = self._draws(epoch)
        key = (setup.recipe.seed, _STREAM, epoch)
        batches = list(
            shuffled_batches(len(setup.train), setup.recipe.optimiser.batch_rows, key=key, device=setup.engine.device)
        )
        for step, index in enumerate(batches):
            ce, kl, balance, choice = self._terms(index, draws[index])
            loss = ce + kl_weight * kl + balance_weight * balance
            take_step(setup, loss, self.optimisers[0], index=index, where=f"distill epoch {epoch} step {step}")
            sums += torch.stack([loss, ce, kl, balance]).detach().cpu() / len(batches)
            given, together = choice.amounts(len(shares))
            shares += given / (together * len(batches))
        row = dict(zip(("loss", "cross_entropy", "kl", "balance"), sums.tolist(), strict=True))
        row |= {"kl_weight": kl_weight, "balance_weight": balance_weight}
        return self._scored(row, shares, epoch)

    def closing_rows(self) -> list[MetricRow]:
        """Measure nothing more."""
        return []

    def _terms(self, index: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor, Choice]:
        setup = self._setup
        batch = setup.train.take(index)
        config = setup.recipe.stages.distill
        with setup.engine.fabric.autocast():
            logits = setup.student.logits(batch.features)
            gate = setup.router(logits if config.gate_input == "attached" else logits.detach())
        targets = self._table[index]
        choice = ROUTINGS[config.routing](Candidates(gate, targets, batch.labels, draws, config.top_k))
        kl = chosen_kl(logits, targets, choice.teachers, choice.weights, temperature=setup.recipe.temperature)
        return cross_entropy(logits, batch.labels), kl, BALANCES[config.balance](gate), choice

    def _draws(self, epoch: int) -> Tensor:
        """Draw uniform numbers [rows, K], which are those of the epoch whatever was drawn before."""
        generator = torch.Generator().manual_seed(seed_from_key((self._setup.recipe.seed, _DRAW_STREAM, epoch)))
        rows, teachers = self._table.shape[:2]
        return torch.rand((rows, teachers), generator=generator, dtype=torch.float32).to(self._setup.engine.device)

    def _scored(self, row: MetricRow, shares: Tensor, epoch: int) -> EpochResult:
        setup = self._setup
        logits = all_logits(setup.student, setup.validation)
        score = float(cross_entropy(logits, setup.validation.labels))
        check_finite(self.learning, score, where=f"distill epoch {epoch}")
        routing = dict(zip(self._answers, shares.tolist(), strict=True))
        row |= {
            "routing": routing,
            "routing_entropy": float(torch.special.entr(shares).sum()),
            "validation_cross_entropy": score,
            "validation_accuracy": accuracy(logits, setup.validation.labels),
            "agreement": self._agreement(logits),
        }
        if epoch == 0:
            row["teacher_agreement"] = agreement(self._answers)
        alarm = setup.watch.alarm(routing, setup.recipe.stages.distill.top_k)
        return EpochResult([row | {"alarm": alarm} if alarm else row], score)

    def _agreement(self, logits: Tensor) -> dict[str, float]:
        answers = logits.argmax(dim=1)
        return {name: float((answers == each).float().mean()) for name, each in self._answers.items()}


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
