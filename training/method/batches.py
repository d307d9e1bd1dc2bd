"""The batches of an epoch: in an order that seed, stage and epoch decide, shared out among processes, varied anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mstedge.training.augment import augmented
from mstedge.training.engine import seed_from_key, shuffled_batches
from mstedge.training.rows import moved_together

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mstedge.training.method.setup import Setup

_AUGMENT_STREAM = 7


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from.

    Attributes:
        step: Counted from 0.
        index: This process's training rows, on the device.
        features: [rows, *feature_shape] per modality, augmented where the recipe says so.
        labels: int64 [rows, *places].
        rows: Number of rows of all processes.
        labelled: Number of labelled places of all processes.
    """

    step: int
    index: Tensor
    features: Mapping[str, Tensor]
    labels: Tensor
    rows: int
    labelled: int


def training_batches(
    setup: Setup, stream: int, epoch: int, orders: Sequence[Tensor] | None = None
) -> tuple[int, Iterator[Batch]]:
    """Prepare the batches of an epoch.

    Args:
        setup: The run.
        stream: Number of the stage.
        epoch: Counted from 0.
        orders: Rows of each step; none draws them without replacement.

    Returns:
        How many there are, and each of them.
    """
    processes = setup.engine.processes
    if orders is None:
        key = (setup.recipe.seed, stream, epoch)
        batch_rows = setup.recipe.optimiser.batch_rows
        orders = list(shuffled_batches(len(setup.train), batch_rows, key=key, least=max(2, processes)))
    return len(orders), _batches(setup, orders, (stream, epoch))


def _batches(setup: Setup, orders: Sequence[Tensor], key: tuple[int, int]) -> Iterator[Batch]:
    rank, processes = setup.engine.rank, setup.engine.processes
    shares = [order[rank::processes] for order in orders]
    indices = moved_together(shares, setup.engine.device)
    together = zip(orders, indices, setup.train.batches(shares), strict=True)
    for step, (order, index, rows) in enumerate(together):
        features = rows.features
        if setup.recipe.augment:
            seed = seed_from_key((setup.recipe.seed, _AUGMENT_STREAM, *key, step, rank))
            features = augmented(features, setup.recipe.augment, torch.Generator().manual_seed(seed))
        yield Batch(step, index, features, rows.labels, len(order), int(setup.train.labelled[order].sum()))
