"""Stage 3, dynamic distillation: the router picks specialised teachers per sample (paper, section 3.4).

L = CE + mu1 (1/k) sum over the top-k teachers of KL(S || teacher) + mu2 lb. Teachers and masks are frozen and inputs
are not augmented, so each specialised teacher's logits are needed once: a table [rows, K, classes].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mstedge.training.engine import shuffled_batches
from mstedge.training.method.losses import cross_entropy, load_balance, routed_kl
from mstedge.training.method.phase import EpochResult, MetricRow, StageName
from mstedge.training.method.setup import Setup, all_logits
from mstedge.training.scores import accuracy

_STREAM = 3
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
        self._table = torch.stack([all_logits(teacher, setup.train) for teacher in setup.specialised], dim=1)

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train student and router for one epoch."""
        setup = self._setup
        setup.student.network.train()
        setup.router.train()
        kl_weight, balance_weight = scheduled_weights(setup.recipe.stages.distill, epoch)
        sums = torch.zeros(4)
        shares = torch.zeros(len(setup.specialised), device=setup.engine.device)
        key = (setup.recipe.seed, _STREAM, epoch)
        batches = list(
            shuffled_batches(len(setup.train), setup.recipe.optimiser.batch_rows, key=key, device=setup.engine.device)
        )
        for step, index in enumerate(batches):
            ce, kl, balance, chosen = self._terms(index)
            loss = ce + kl_weight * kl + balance_weight * balance
            setup.engine.step(loss, self.optimisers[0], where=f"distill epoch {epoch} step {step}")
            sums += torch.stack([loss, ce, kl, balance]).detach().cpu() / len(batches)
            shares += torch.bincount(chosen.flatten(), minlength=len(shares)) / (chosen.numel() * len(batches))
        row = dict(zip(("loss", "cross_entropy", "kl", "balance"), sums.tolist(), strict=True))
        row |= {"kl_weight": kl_weight, "balance_weight": balance_weight}
        return self._scored(row, shares)

    def closing_rows(self) -> list[MetricRow]:
        """Measure nothing more."""
        return []

    def _terms(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        setup = self._setup
        batch = setup.train.take(index)
        with setup.engine.fabric.autocast():
            logits = setup.student.logits(batch.features)
            gate = setup.router(logits)
        config = setup.recipe.stages.distill
        kl, chosen = routed_kl(
            logits, self._table[index], gate, top_k=config.top_k, temperature=setup.recipe.temperature
        )
        return cross_entropy(logits, batch.labels), kl, load_balance(gate), chosen

    def _scored(self, row: MetricRow, shares: Tensor) -> EpochResult:
        setup = self._setup
        logits = all_logits(setup.student, setup.validation)
        score = float(cross_entropy(logits, setup.validation.labels))
        names = [teacher.name for teacher in setup.specialised]
        row |= {
            "routing": dict(zip(names, shares.tolist(), strict=True)),
            "routing_entropy": float(torch.special.entr(shares).sum()),
            "validation_cross_entropy": score,
            "validation_accuracy": accuracy(logits, setup.validation.labels),
        }
        return EpochResult([row], score)


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
