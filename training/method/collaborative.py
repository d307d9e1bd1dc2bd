"""Stage 1, collaborative initialisation: all members learn together (paper, section 3.2).

L = sum_i CE_i + sum_{i<j} [KL(P_i || P_j) + KL(P_j || P_i)], one Adam, nothing detached. The logits of a frozen
teacher are constants, and the terms that only frozen teachers are in are left out.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.errors import CheckFailedError
from mstedge.training.method.answers import evaluated, widened
from mstedge.training.method.batches import training_batches
from mstedge.training.method.divergence import LossWatch, check_finite
from mstedge.training.method.losses import cross_entropy, mutual_kl
from mstedge.training.method.phase import EpochResult, MetricRow, StageName

if TYPE_CHECKING:
    from mstedge.training.method.batches import Batch
    from mstedge.training.method.members import Member
    from mstedge.training.method.setup import Setup

_STREAM = 1


class CollaborativePhase:
    """Stage 1 as the trainer runs it; the last epoch's weights go on, as published."""

    stage: StageName = "collaborative"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.epochs = setup.recipe.stages.collaborative.epochs
        self.learning: dict[str, nn.Module] = {}
        for member in setup.members:
            if member.frozen:
                member.network.eval().requires_grad_(requires_grad=False)
            else:
                self.learning[f"members/{member.name}"] = member.network
        together = nn.ModuleList(self.learning.values())
        self.optimisers: tuple[Any, ...] = (setup.engine.optimiser(together, setup.recipe.optimiser.learning_rate),)

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train all members for one epoch."""
        for network in self.learning.values():
            network.train()
        where = f"collaborative epoch {epoch}"
        watch = LossWatch(self._setup, where)
        sums: dict[str, Tensor] = {}
        flow: dict[str, float] = {}
        count, batches = training_batches(self._setup, _STREAM, epoch)
        for batch in batches:
            terms, logits = self._terms(batch)
            if batch.step == 0:
                flow = self._flow(terms, logits)
                _check_flow(flow)
            watch.take_step(torch.stack(list(terms.values())).sum(), self.optimisers[0], batch)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.detach() / count
        watch.look()
        check_finite(self.learning, None, where=where)
        return EpochResult([self._row(sums, flow)])

    def closing_rows(self) -> list[MetricRow]:
        """Measure nothing more."""
        return []

    def _terms(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Give each term of the loss by name, without those of frozen members alone, and the logits behind them."""
        with self._setup.engine.fabric.autocast():
            logits = {member.name: widened(_member_logits(member, batch)) for member in self._setup.members}
        terms = collaborative_terms(logits, batch, self._setup.recipe.temperature)
        learners = self._learners()
        return {name: term for name, term in terms.items() if learners & set(name.split("|"))}, logits

    def _flow(self, terms: dict[str, Tensor], logits: dict[str, Tensor]) -> dict[str, float]:
        """Measure `gradient_flow` on the rows of all processes."""
        engine = self._setup.engine
        flow = gradient_flow(terms, {name: logits[name] for name in self._learners()})
        if engine.processes == 1:
            return flow
        squares = torch.tensor([norm**2 for norm in flow.values()], device=engine.device)
        return dict(zip(flow, engine.sum_of_shares(squares).sqrt().tolist(), strict=True))

    def _learners(self) -> set[str]:
        return {member.name for member in self._setup.members if not member.frozen}

    def _row(self, shares: dict[str, Tensor], flow: dict[str, float]) -> MetricRow:
        setup = self._setup
        sums = dict(zip(shares, setup.engine.sum_of_shares(torch.stack(list(shares.values()))).tolist(), strict=True))
        return {
            "loss": sum(sums.values()),
            "cross_entropy": {name: value for name, value in sums.items() if "|" not in name},
            "kl": sum(value for name, value in sums.items() if "|" in name),
            "gradient_flow": flow,
            "validation_accuracy": {
                member.name: evaluated(setup, member, setup.validation).accuracy for member in setup.members
            },
        }


def _member_logits(member: Member, batch: Batch) -> Tensor:
    with torch.set_grad_enabled(not member.frozen):
        return member.logits(batch.features)


def collaborative_terms(logits: dict[str, Tensor], batch: Batch, temperature: float) -> dict[str, Tensor]:
    """Compute every term of stage 1's loss.

    Args:
        logits: [rows, classes, *places] per member.
        batch: Their rows.
        temperature: T.

    Returns:
        Scalars: `member` for its cross-entropy over labelled places, `a|b` for KL(a || b) + KL(b || a) over all rows.
    """
    terms = {name: cross_entropy(values, batch.labels, counted=batch.labelled) for name, values in logits.items()}
    softened = {name: torch.log_softmax(values / temperature, dim=1) for name, values in logits.items()}
    for first, second in combinations(softened, 2):
        pair = softened[first], softened[second]
        terms[f"{first}|{second}"] = mutual_kl(*pair, temperature, rows=batch.rows)
    return terms


def gradient_flow(terms: dict[str, Tensor], logits: dict[str, Tensor]) -> dict[str, float]:
    """Check that members teach each other: the gradient that each gets from its pair with every other.

    Args:
        terms: From `collaborative_terms`, graph intact.
        logits: What they were computed from, of the members that learn.

    Returns:
        `learner<-from`: norm of the pair's gradient on the learner's logits; 0 means that nothing flows.
    """
    flow: dict[str, float] = {}
    for name, term in terms.items():
        first, _, second = name.partition("|")
        if not second:
            continue
        for learner, source in ((first, second), (second, first)):
            if learner in logits:
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
