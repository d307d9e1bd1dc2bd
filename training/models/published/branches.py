"""Convolutional branches over time, and over time and space: those of RAVDESS and of VGGSound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONVOLUTIONS = {1: nn.Conv1d, 3: nn.Conv3d}
_NORMS = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}
_POOLS = {1: nn.MaxPool1d, 3: nn.MaxPool3d}


class ChannelsFirst(nn.Module):
    """Puts the channels of a stored clip in front of its frames.

    Args:
        axis: Where they are stored, the batch not counted.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, values: Tensor) -> Tensor:
        """Give [batch, channels, ...] for channels at `axis`."""
        return values.movedim(self.axis + 1, 1)


def branch(
    inputs: int, sides: Sequence[int], channels: Sequence[int], pools: Sequence[int], *, stored_axis: int = 0
) -> tuple[nn.Sequential, int]:
    """Make blocks of convolution (3 wide on every side), BatchNorm, ReLU and max pooling, flattened at the end.

    Args:
        inputs: Number of input channels.
        sides: Lengths of the convolved axes: one of them, or three.
        channels: Width of each block.
        pools: What each block's pooling divides every side by; 1 for no pooling.
        stored_axis: Where the input has its channels, the batch not counted.

    Returns:
        The branch, its convolutions called `conv1` and so on, and the width of what it gives.
    """
    rank = len(sides)
    layers = nn.Sequential()
    if stored_axis:
        layers.add_module("channels_first", ChannelsFirst(stored_axis))
    for number, (outputs, pool) in enumerate(zip(channels, pools, strict=True), start=1):
        layers.add_module(f"conv{number}", _CONVOLUTIONS[rank](inputs, outputs, 3, padding=1))
        layers.add_module(f"norm{number}", _NORMS[rank](outputs))
        layers.add_module(f"relu{number}", nn.ReLU())
        if pool > 1:
            layers.add_module(f"pool{number}", _POOLS[rank](pool))
        inputs = outputs
    layers.add_module("flatten", nn.Flatten())
    step = math.prod(pools)
    return layers, inputs * math.prod(side // step for side in sides)
