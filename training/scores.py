"""How good logits are: accuracy and cross-entropy over labelled rows."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mstedge.run_card import Metrics
from mstedge.statistics import wilson_interval
from mstedge.training.data.source import UNLABELLED
from mstedge.training.method.losses import cross_entropy


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Give the share of labelled rows whose largest logit is right."""
    labelled = labels != UNLABELLED
    return float((logits.argmax(dim=1) == labels)[labelled].float().mean())


def metrics_of(
    logits: Tensor, labels: Tensor, clusters: tuple[str, ...], part: Literal["validation", "test"]
) -> Metrics:
    """Score a part of the split, with an interval that counts clusters, not rows.

    Args:
        logits: [rows, classes].
        labels: int64 [rows].
        clusters: The independent unit of each row; Wilson's interval takes their number as its sample size.
        part: Which part it is.
    """
    labelled = (labels != UNLABELLED).tolist()
    units = len({cluster for cluster, counts in zip(clusters, labelled, strict=True) if counts})
    share = accuracy(logits, labels)
    low, high = wilson_interval(share * units, units)
    loss = float(cross_entropy(logits, labels))
    return Metrics(
        part=part, accuracy=share, low=low, high=high, rows=sum(labelled), clusters=units, cross_entropy=loss
    )
