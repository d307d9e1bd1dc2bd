"""The losses of MST-Distill as pure functions of logits. Li et al., arXiv 2507.07015.

Logits have shape [rows, classes]. In every KL the first argument is the learner, the second its target.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mstedge.training.data.source import UNLABELLED


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Average cross-entropy over the labelled rows; 0 where none is labelled.

    Args:
        logits: [rows, classes].
        labels: int64 [rows], `UNLABELLED` for rows that do not count.
    """
    labelled = (labels != UNLABELLED).sum().clamp(min=1)
    return functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum") / labelled


def softened_kl_rows(learner: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Compute T^2 KL(target || learner) of softened distributions for each row (Hinton et al. 2015, section 2).

    Args:
        learner: Logits [rows, ..., classes] that shall come nearer.
        target: Logits of the same shape; gradients flow into both unless detached.
        temperature: T, divides both.

    Returns:
        [rows, ...], in nats times T^2.
    """
    log_q = functional.log_softmax(target / temperature, dim=-1)
    log_p = functional.log_softmax(learner / temperature, dim=-1)
    return temperature**2 * (log_q.exp() * (log_q - log_p)).sum(dim=-1)


def softened_kl(learner: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Average `softened_kl_rows` over the rows."""
    return softened_kl_rows(learner, target, temperature).mean()


def load_balance(gate: Tensor) -> Tensor:
    """Measure how far the mean routing is from uniform: (1/K) KL(uniform || mean over rows of the gate).

    The factor 1/K is the reference implementation's (its `batchmean` over a vector).

    Args:
        gate: Routing probabilities [rows, K].
    """
    teachers = gate.shape[1]
    mean = gate.mean(dim=0)
    return -(torch.log(mean * teachers).sum() / teachers) / teachers


def load_variation(gate: Tensor) -> Tensor:
    """Measure how uneven the routing is: coefficient of variation (sample deviation / mean) of the summed gates.

    The reference implementation's other choice, after Shazeer et al. 2017 (arXiv 1701.06538), who square it.

    Args:
        gate: Routing probabilities [rows, K]; 0 for a single teacher.
    """
    importance = gate.sum(dim=0)
    if len(importance) == 1:
        return 0.0 * importance.sum()
    return importance.std() / importance.mean()


BALANCES: dict[str, Callable[[Tensor], Tensor]] = {"kl": load_balance, "cv": load_variation}


def chosen_kl(
    learner: Tensor, targets: Tensor, chosen: Tensor, weights: Tensor | None = None, *, temperature: float
) -> Tensor:
    """Distil each row from the teachers that were chosen for it.

    Args:
        learner: Student logits [rows, classes].
        targets: Logits of every teacher [rows, K, classes], detached.
        chosen: Teachers of each row, int64 [rows, n].
        weights: What each of them counts [rows, n], gradients welcome; none weighs them alike.
        temperature: T.

    Returns:
        A scalar, the average over the rows.
    """
    routed = targets.gather(1, chosen[:, :, None].expand(-1, -1, targets.shape[2]))
    each = softened_kl_rows(learner[:, None, :].expand_as(routed), routed, temperature)
    rows = each.mean(dim=1) if weights is None else (weights * each).sum(dim=1)
    return rows.mean()


def routed_kl(
    learner: Tensor, targets: Tensor, gate: Tensor, *, top_k: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Distil each row from the k teachers that the router prefers for it.

    Args:
        learner: Student logits [rows, classes].
        targets: Logits of every specialised teacher [rows, K, classes], detached.
        gate: Routing probabilities [rows, K]; only their order is used, so no gradient reaches the router here.
        top_k: k.
        temperature: T.

    Returns:
        The loss, a scalar, and the chosen teachers, int64 [rows, k].
    """
    chosen = gate.topk(top_k, dim=1).indices
    return chosen_kl(learner, targets, chosen, temperature=temperature), chosen
