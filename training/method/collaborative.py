"""Stage 1, collaborative initialisation: all members learn together (paper, section 3.2).

L = sum_i CE_i + sum_{i<j} [KL(P_i || P_j) + KL(P_j || P_i)], one Adam, nothing detached.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.errors import CheckFailedError
from mstedge.training.engine import shuffled_batches
from mstedge.training.method.losses import cross_entropy, softened_kl
from mstedge.training.method.phase import EpochResult, MetricRow, StageName
from mstedge.training.method.setup import Setup, all_logits
from mstedge.training.scores import accuracy

if TYPE_CHECKING:
    from mstedge.training.engine import Rows

_STREAM = 1


class CollaborativePhase:
    """Stage 1 as the trainer runs it; the last epoch's weights go on, as published."""

    stage: StageName = "collaborative"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.epochs = setup.recipe.stages.collaborative.epochs
        self.learning: dict[str, nn.Module] = {f"members/{member.name}": member.network for member in setup.members}
        together = nn.ModuleList(self.learning.values())
        self.optimisers: tuple[Any, ...] = (setup.engine.optimiser(together, setup.recipe.optimiser.learning_rate),)

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train all members for one epoch."""
        setup = self._setup
        for network in self.learning.values():
            network.train()
        sums: dict[str, float] = {}
        flow: dict[str, float] = {}
        key = (setup.recipe.seed, _STREAM, epoch)
        batches = list(
            shuffled_batches(len(setup.train), setup.recipe.optimiser.batch_rows, key=key, device=setup.engine.device)
        )
        for step, index in enumerate(batches):
            terms, logits = self._terms(setup.train.take(index))
            if step == 0:
                flow = gradient_flow(terms, logits)
                _check_flow(flow)
            loss = torch.stack(list(terms.values())).sum()
            setup.engine.step(loss, self.optimisers[0], where=f"collaborative epoch {epoch} step {step}")
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        return EpochResult([self._row(sums, flow)])

    def closing_rows(self) -> list[MetricRow]:
        """Measure nothing more."""
        return []

    def _terms(self, batch: Rows) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Give each term of the loss by name: `member` for its CE, `a|b` for the pair's two KLs."""
        with self._setup.engine.fabric.autocast():
            logits = {member.name: member.logits(batch.features) for member in self._setup.members}
        return collaborative_terms(logits, batch.labels, self._setup.recipe.temperature), logits

    def _row(self, sums: dict[str, float], flow: dict[str, float]) -> MetricRow:
        validation = self._setup.validation
        return {
            "loss": sum(sums.values()),
            "cross_entropy": {name: value for name, value in sums.items() if "|" not in name},
            "kl": sum(value for name, value in sums.items() if "|" in name),
            "gradient_flow": flow,
            "validation_accuracy": {
                member.name: accuracy(all_logits(member, validation), validation.labels)
                for member in self._setup.members
            },
        }


def collaborative_terms(logits: dict[str, Tensor], labels: Tensor, temperature: float) -> dict[str, Tensor]:
    """Compute every term of stage 1's loss.

    Args:
        logits: [rows, classes] per member.
        labels: int64 [rows].
        temperature: T.

    Returns:
        Scalars: `member` for its cross-entropy over labelled rows, `a|b` for KL(a || b) + KL(b || a) over all rows.
    """
    terms = {name: cross_entropy(values, labels) for name, values in logits.items()}
    for first, second in combinations(logits, 2):
        one, other = logits[first], logits[second]
        terms[f"{first}|{second}"] = softened_kl(one, other, temperature) + softened_kl(other, one, temperature)
    return terms


def gradient_flow(terms: dict[str, Tensor], logits: dict[str, Tensor]) -> dict[str, float]:
    """Check that members teach each other: the gradient that each gets from its pair with every other.

    Args:
        terms: From `collaborative_terms`, graph intact.
        logits: What they were computed from.

    Returns:
        `learner<-from`: norm of the pair's gradient on the learner's logits; 0 means that nothing flows.
    """
    flow: dict[str, float] = {}
    for name, term in terms.items():
        first, _, second = name.partition("|")
        if not second:
            continue
        for learner, source in ((first, second), (second, first)):
            flow[f"{learner}<-{source}"] = _norm_of_gradient(term, logits[learner])
    return flow


def _norm_of_gradient(term: Tensor, logits: Tensor) -> float:
    if not logits.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(term, logits, retain_graph=True)
    return float(gradient.norm())


def _check_flow(flow: dict[str, float]) -> None:
    """Refuse members that cannot learn from each other, such as a network that detaches its logits."""
    for pair, norm in flow.items():
        if norm == 0.0:
            learner, _, source = pair.partition("<-")
            raise CheckFailedError(
                f"stage 1: member {learner!r} gets no gradient from its KL with {source!r}",
                hint=f"does the network of {learner!r} detach what it returns?",
            )
