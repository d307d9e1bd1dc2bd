"""The losses of MST-Distill as pure functions of logits. Li et al., arXiv 2507.07015.

Logits have shape [rows, classes, *places]: without places in classification, with two in segmentation. In every KL the
first argument is the learner, the second its target. Where a batch is shared out among processes, `rows` and `counted`
say how many there are in all: each process then holds its share of the average, and the shares add up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mstedge.training.data.source import UNLABELLED


def cross_entropy(logits: Tensor, labels: Tensor, *, counted: int | None = None) -> Tensor:
    """Average cross-entropy over the labelled places of all rows; 0 where none is labelled.

    Args:
        logits: [rows, classes, *places].
        labels: int64 [rows, *places], `UNLABELLED` where it does not count.
        counted: Number of labelled places to divide by; none counts those of `labels`.
    """
    total = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    if counted is None:
        return total / (labels != UNLABELLED).sum().clamp(min=1)
    return total / max(counted, 1)


def softened_kl_rows(learner: Tensor, target: Tensor, temperature: float, *, class_axis: int = 1) -> Tensor:
    """Compute T^2 KL(target || learner) of softened distributions for each row (Hinton et al. 2015, section 2).

    Every place of a row counts alike, also those whose label is ignored: the reference implementation divides by
    height * width.

    Args:
        learner: Logits that shall come nearer, classes on `class_axis`.
        target: Logits of the same shape; gradients flow into both unless detached.
        temperature: T, divides both.
        class_axis: Axes before it are rows, those after it places.

    Returns:
        The axes of rows, in nats times T^2.
    """
    log_q = functional.log_softmax(target / temperature, dim=class_axis)
    log_p = functional.log_softmax(learner / temperature, dim=class_axis)
    by_place = functional.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=class_axis)
    if by_place.ndim > class_axis:
        by_place = by_place.flatten(class_axis).mean(dim=class_axis)
    return temperature**2 * by_place


def softened_kl(learner: Tensor, target: Tensor, temperature: float, *, rows: int | None = None) -> Tensor:
    """Average `softened_kl_rows` over the rows.

    Args:
        learner: Logits [rows, classes, *places] that shall come nearer.
        target: Logits of the same shape.
        temperature: T.
        rows: Number of rows to divide by; none counts those given.
    """
    each = softened_kl_rows(learner, target, temperature)
    return each.sum() / (len(each) if rows is None else rows)


def mutual_kl(one: Tensor, other: Tensor, temperature: float, *, rows: int | None = None) -> Tensor:
    """Add up KL(one || other) and KL(other || one), averaged over the rows.

    Both together are T^2 sum_c (p_c - q_c) (log p_c - log q_c): one product instead of two sums, half the memory.

    Args:
        one: Log-probabilities [rows, classes, *places] of logits divided by T.
        other: The same of the other side; gradients flow into both.
        temperature: T.
        rows: Number of rows to divide by; none counts those given.
    """
    by_place = ((one.exp() - other.exp()) * (one - other)).sum(dim=1)
    each = by_place.reshape(len(by_place), -1).mean(dim=1)
    return temperature**2 * each.sum() / (len(each) if rows is None else rows)


def load_balance(mean_gate: Tensor) -> Tensor:
    """Measure how far the mean routing is from uniform: (1/K) KL(uniform || mean over rows of the gate).

    The factor 1/K is the reference implementation's (its `batchmean` over a vector).

    Args:
        mean_gate: Routing probabilities [K], averaged over the batch.
    """
    teachers = len(mean_gate)
    return -(torch.log(mean_gate * teachers).sum() / teachers) / teachers


def load_variation(mean_gate: Tensor) -> Tensor:
    """Measure how uneven the routing is: coefficient of variation (sample deviation / mean) of the summed gates.

    The reference implementation's other choice, after Shazeer et al. 2017 (arXiv 1701.06538), who square it. The sum
    over the rows and their mean have the same coefficient.

    Args:
        mean_gate: Routing probabilities [K], averaged over the batch; 0 for a single teacher.
    """
    if len(mean_gate) == 1:
        return 0.0 * mean_gate.sum()
    return mean_gate.std() / mean_gate.mean()


BALANCES: dict[str, Callable[[Tensor], Tensor]] = {"kl": load_balance, "cv": load_variation}


def routed_kl(
    learner: Tensor, routed: Tensor, weights: Tensor | None, *, temperature: float, rows: int | None = None
) -> Tensor:
    """Distil each row from the teachers that were chosen for it.

    Args:
        learner: Student logits [rows, classes, *places].
        routed: Logits of each row's teachers [rows, n, classes, *places], detached.
        weights: What each of them counts [rows, n], gradients welcome; none weighs them alike.
        temperature: T.
        rows: Number of rows to divide by; none counts those given.

    Returns:
        A scalar, the average over the rows.
    """
    each = softened_kl_rows(learner[:, None].expand_as(routed), routed, temperature, class_axis=2)
    by_row = each.mean(dim=1) if weights is None else (weights * each).sum(dim=1)
    return by_row.sum() / (len(by_row) if rows is None else rows)
