"""Routing: which teachers each row is distilled from in stage 3, and how much each of them counts.

`gate` is the paper's (section 3.4). `random`, `mean` and `unmasked` are controls: what gate or masks are said to bring
must show against them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mstedge.training.data.source import UNLABELLED


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a routing may look at.

    Attributes:
        gate: The router's probabilities [rows, K].
        targets: Gives the logits of every teacher [rows, K, classes, *places], detached, to who asks for them.
        labels: int64 [rows, *places], `UNLABELLED` where the label may not be used.
        draws: Uniform random numbers [rows, K], which depend on seed, epoch and row alone.
        top_k: k.
    """

    gate: Tensor
    targets: Callable[[], Tensor]
    labels: Tensor
    draws: Tensor
    top_k: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The teachers of each row.

    Attributes:
        teachers: int64 [rows, n].
        weights: What each of them counts [rows, n], summing to 1 in each row; none weighs them alike.
        everybody: Whether they are all K teachers in their order.
    """

    teachers: Tensor
    weights: Tensor | None = None
    everybody: bool = False

    def share_of(self, teachers: int) -> Tensor:
        """Say what share each of K teachers got: [K], summing to 1."""
        rows, chosen = self.teachers.shape
        if self.weights is None:
            # Not `bincount`, for whose length the host would have to wait for a GPU.
            numbers = torch.arange(teachers, device=self.teachers.device)
            return (self.teachers.reshape(-1, 1) == numbers).sum(dim=0) / max(1, rows * chosen)
        given = torch.zeros(teachers, dtype=self.weights.dtype, device=self.weights.device)
        return given.index_add_(0, self.teachers.flatten(), self.weights.detach().flatten()) / max(1, rows)


def by_gate(candidates: Candidates) -> Choice:
    """Take the k teachers that the router prefers; no gradient reaches the router."""
    return Choice(candidates.gate.topk(candidates.top_k, dim=1).indices)


def softly(candidates: Candidates) -> Choice:
    """Take all, weighted by the router, which so learns to prefer those that are near the student."""
    return _everybody(candidates, candidates.gate)


def straight_through(candidates: Candidates) -> Choice:
    """Count the k preferred teachers as `by_gate` does, and let the gradient pass as `softly` does.

    The estimator of Bengio et al. 2013 (arXiv 1308.3432, section 2).
    """
    gate = candidates.gate
    preferred = gate.topk(candidates.top_k, dim=1).indices
    hard = torch.zeros_like(gate).scatter(1, preferred, 1.0 / candidates.top_k)
    return _everybody(candidates, hard + (gate - gate.detach()))


def at_random(candidates: Candidates) -> Choice:
    """Take k different teachers, each set of k as likely as any other: the control for what the router knows."""
    return Choice(candidates.draws.topk(candidates.top_k, dim=1).indices)


def evenly(candidates: Candidates) -> Choice:
    """Take all alike: the control for routing at all."""
    return _everybody(candidates)


def by_correctness(candidates: Candidates) -> Choice:
    """Take all, weighted by how right they are: the softmax over teachers of log p(true class), at temperature 1.

    That is p(true class) divided by its sum over the teachers; where every place has a label, log p is the mean over
    them. Where a row has no label, nothing says who is right: all count alike.
    """
    labels = candidates.labels[:, None]
    counted = labels != UNLABELLED
    log_p = torch.log_softmax(candidates.targets(), dim=2)
    of_label = log_p.gather(2, labels.clamp(min=0)[:, :, None].expand(-1, log_p.shape[1], 1, *labels.shape[2:]))
    right = torch.where(counted, of_label.squeeze(2), 0.0).reshape(*log_p.shape[:2], -1).sum(dim=2)
    rightness = torch.softmax(right / counted.reshape(len(counted), 1, -1).sum(dim=2).clamp(min=1), dim=1)
    return _everybody(candidates, rightness)


def _everybody(candidates: Candidates, weights: Tensor | None = None) -> Choice:
    rows, teachers = candidates.gate.shape
    everybody = torch.arange(teachers, device=candidates.gate.device).expand(rows, teachers)
    return Choice(everybody, weights, everybody=True)


# `unmasked` is `gate` over other teachers: those without masks, one for each, not one for each tap.
ROUTINGS: dict[str, Callable[[Candidates], Choice]] = {
    "gate": by_gate,
    "soft": softly,
    "straight_through": straight_through,
    "random": at_random,
    "mean": evenly,
    "unmasked": by_gate,
    "correctness": by_correctness,
}
