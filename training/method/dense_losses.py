"""The losses of MST-Distill where every place has an answer. Li et al., arXiv 2507.07015.

Logits have shape [rows, classes, *places]; without places they are those of `losses`, and so is what comes out. In
every KL the first argument is the learner, the second its target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mstedge.training.data.source import UNLABELLED

if TYPE_CHECKING:
    from torch import Tensor


def dense_cross_entropy(logits: Tensor, labels: Tensor, *, ignored: int | None = None) -> Tensor:
    """Average cross-entropy over the places of all rows that count; 0 where none does.

    Args:
        logits: [rows, classes, *places].
        labels: int64 [rows, *places], `UNLABELLED` for places that do not count.
        ignored: A class that does not count either; 0 for NYU-Depth-V2.
    """
    if ignored is not None:
        labels = torch.where(labels == ignored, UNLABELLED, labels)
    counted = (labels != UNLABELLED).sum().clamp(min=1)
    return functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum") / counted


def dense_softened_kl_rows(learner: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Compute T^2 KL(target || learner) of softened distributions for each row, averaged over its places.

    Every place counts, also those whose label is ignored: the reference implementation divides by height * width.

    Args:
        learner: Logits [rows, classes, *places] that shall come nearer.
        target: Logits of the same shape; gradients flow into both unless detached.
        temperature: T, divides both.

    Returns:
        [rows], in nats times T^2.
    """
    log_q = functional.log_softmax(target / temperature, dim=1)
    log_p = functional.log_softmax(learner / temperature, dim=1)
    by_place = (log_q.exp() * (log_q - log_p)).sum(dim=1)
    return temperature**2 * by_place.reshape(len(by_place), -1).mean(dim=1)


def dense_softened_kl(learner: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Average `dense_softened_kl_rows` over the rows."""
    return dense_softened_kl_rows(learner, target, temperature).mean()
