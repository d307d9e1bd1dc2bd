"""An encoder-decoder that answers for every pixel."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mstedge.errors import ConfigError
from mstedge.training.models.classifier import Shape, single_shape
from mstedge.training.models.unpooling import Places, pool_with_places, unpool

if TYPE_CHECKING:
    from collections.abc import Sequence


class Segmenter(nn.Module):
    """Convolutions down and up again, unpooled where they were pooled (SegNet: Badrinarayanan et al. 2017).

    Each level is 3x3 convolution, BatchNorm and ReLU; on the way down 2x2 max pooling follows it, on the way up
    unpooling to the same places precedes it. Nothing else skips from one side to the other. Tap: `hidden` (the smallest
    map, before its activation).

    Args:
        input_shapes: One shape [channels, height, width]; each level halves both sides, which must stay whole.
        classes: Number of logits per pixel.
        channels: Width of each level.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int, *, channels: Sequence[int] = (16, 32, 48)) -> None:
        super().__init__()
        inputs, *sides = single_shape(input_shapes, 3, "segmenter")
        step = 2 ** len(channels)
        if any(side % step for side in sides):
            raise ConfigError(f"network 'segmenter' takes sides that are multiples of {step}, not {sides}")
        widths = [inputs, *channels]
        self.down = nn.ModuleList(_level(*pair) for pair in itertools.pairwise(widths))
        self.hidden = nn.Conv2d(channels[-1], channels[-1], 3, padding=1)
        upwards = [*reversed(channels), channels[0]]
        self.up = nn.ModuleList(_level(*pair) for pair in itertools.pairwise(upwards))
        self.classifier = nn.Conv2d(channels[0], classes, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes, height, width] for [batch, channels, height, width]."""
        kept: list[Places] = []
        for level in self.down:
            values, places = pool_with_places(level(values))
            kept.append(places)
        values = self.hidden(values).relu()
        for level in self.up:
            values = level(unpool(values, kept.pop()))
        return self.classifier(values)  # type: ignore[no-any-return]


def _level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
