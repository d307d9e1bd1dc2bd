"""What a network costs: values to store, and multiplications per answer."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from mstedge.training.models.registry import parameter_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@dataclass(frozen=True, slots=True)
class Cost:
    """What one network costs.

    Attributes:
        parameters: Trainable values; those of a BatchNorm count, its running statistics do not.
        multiply_adds: Multiplications, each with its addition, of the convolutions and matrix products (those of
            attention included) of one forward pass of one sample. Biases, norms, activations, pooling and resampling
            are not counted.
    """

    parameters: int
    multiply_adds: int


def cost_of(network: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Cost:
    """Count without computing: a copy of the network runs on torch's meta device, where nothing is stored.

    Args:
        network: Any network; one made under `torch.device("meta")` costs no memory either.
        shapes: Feature shape of each input, without the batch.
    """
    copy = deepcopy(network).to("meta").eval()
    inputs = [torch.empty((1, *shape), device="meta") for shape in shapes]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy(*inputs)
    return Cost(parameter_count(network), counter.get_total_flops() // 2)
