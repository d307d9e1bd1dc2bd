"""BC-ResNet: residuals over time alone, broadcast over frequency, for spoken words in few multiplications."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError
from mstedge.training.models.classifier import MeanOverPlaces, Shape
from mstedge.training.models.sound import sound_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_NARROWEST = 8  # channels of the first stage at width 1
# Blocks, channels in units of the first stage's, stride over bands, dilation over time: table 1 of the paper.
_STAGES = ((2, 1.0, 1, 1), (2, 1.5, 2, 2), (4, 2.0, 2, 4), (4, 2.5, 1, 8))
_LAST_KERNEL = 5


class BcResNet(nn.Module):
    """A broadcasting-residual network (Kim, Chang, Lee, Sung 2021, arXiv 2106.04140): BC-ResNet-`width`.

    Each block convolves over bands in two dimensions with a norm of its own for each of `sub_bands` ranges of bands
    (SubSpectralNorm, Chang et al. 2021, arXiv 2103.13620), and over time in one, on the mean over bands, which is then
    added to every band. The same weights take any number of frames. Tap: `hidden` (the mean over places of the last
    convolution, after its activation).

    Args:
        input_shapes: One shape [1, frames, bands]; published with 101 frames of 40 log-mel bands.
        classes: Number of logits.
        width: The paper's tau: a multiple of 0.25; published with 1, 1.5, 2, 3, 6 and 8.
        sub_bands: Ranges of bands with their own norm; divides a half, a quarter and an eighth of the bands, each
            rounded up. Published with 5.
        dropout: Share of channels that a block's part over time drops while training.

    Raises:
        ConfigError: The input is no sound, its bands cannot be split so, or the width is none of its multiples.
    """

    def __init__(
        self,
        input_shapes: Sequence[Shape],
        classes: int,
        *,
        width: float = 1.0,
        sub_bands: int = 5,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        bands = sound_shape(input_shapes, "bc-resnet")[2]
        if width <= 0 or width % 0.25:
            raise ConfigError(f"network 'bc-resnet' has width {width}: expected a positive multiple of 0.25")
        unit = round(_NARROWEST * width)
        rows = _rows_of_stages(bands, sub_bands)
        self.head = nn.Sequential(nn.Conv2d(1, 2 * unit, 5, (2, 1), 2, bias=False), nn.BatchNorm2d(2 * unit), nn.ReLU())
        self.stages = _stages(unit, sub_bands, dropout)
        last, embedding = round(_STAGES[-1][1] * unit), 4 * unit
        kernel = (min(_LAST_KERNEL, rows[-1]), _LAST_KERNEL)
        self.tail = nn.Sequential(
            nn.Conv2d(last, last, kernel, padding=(0, _LAST_KERNEL // 2), groups=last, bias=False),
            nn.Conv2d(last, embedding, 1, bias=False),
            nn.BatchNorm2d(embedding),
            nn.ReLU(),
        )
        self.hidden = MeanOverPlaces()
        self.classifier = nn.Linear(embedding, classes)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, 1, frames, bands]."""
        maps = self.tail(self.stages(self.head(values.transpose(2, 3))))
        return self.classifier(self.hidden(maps))  # type: ignore[no-any-return]


class SubSpectralNorm(nn.Module):
    """BatchNorm with statistics and scale of its own for each range of bands (arXiv 2103.13620, affine type "Sub").

    Args:
        channels: Channels of the map.
        sub_bands: Ranges of equal height.
    """

    def __init__(self, channels: int, sub_bands: int) -> None:
        super().__init__()
        self.sub_bands = sub_bands
        self.norm = nn.BatchNorm2d(channels * sub_bands)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise [batch, channels, bands, frames]; the number of bands is a multiple of the ranges."""
        channels, bands = maps.shape[1:3]
        ranges = torch.unflatten(maps, 2, (self.sub_bands, bands // self.sub_bands)).flatten(1, 2)
        return torch.unflatten(self.norm(ranges), 1, (channels, self.sub_bands)).flatten(2, 3)


class _Block(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, *, stride: int, dilation: int, sub_bands: int, dropout: float
    ) -> None:
        super().__init__()
        self.keeps_width = inputs == outputs
        self.change = (
            nn.Identity()
            if self.keeps_width
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
        )
        self.over_bands = nn.Sequential(
            nn.Conv2d(outputs, outputs, (3, 1), (stride, 1), (1, 0), groups=outputs, bias=False),
            SubSpectralNorm(outputs, sub_bands),
        )
        self.over_time = nn.Sequential(
            nn.Conv2d(
                outputs, outputs, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=outputs, bias=False
            ),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.Dropout2d(dropout),
        )
        self.activation = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        within = self.over_bands(self.change(maps))
        total = within + self.over_time(within.mean(dim=2, keepdim=True))
        return self.activation(total + maps if self.keeps_width else total)  # type: ignore[no-any-return]


def _stages(unit: int, sub_bands: int, dropout: float) -> nn.Sequential:
    blocks: list[nn.Module] = []
    inputs = 2 * unit
    for count, factor, stride, dilation in _STAGES:
        outputs = round(factor * unit)
        for position in range(count):
            steps = 1 if position else stride
            blocks.append(
                _Block(inputs, outputs, stride=steps, dilation=dilation, sub_bands=sub_bands, dropout=dropout)
            )
            inputs = outputs
    return nn.Sequential(*blocks)


def _rows_of_stages(bands: int, sub_bands: int) -> list[int]:
    """Give the height of each stage's maps."""
    height = (bands + 1) // 2
    rows = []
    for _, _, stride, _ in _STAGES:
        height = -(-height // stride)
        rows.append(height)
    if sub_bands < 1 or any(each % sub_bands for each in rows):
        fitting = [each for each in range(1, min(rows) + 1) if not any(row % each for row in rows)]
        raise ConfigError(
            f"network 'bc-resnet' cannot split {bands} bands: its maps have {sorted(set(rows), reverse=True)} rows, "
            f"not multiples of {sub_bands} sub-bands",
            hint=f"set options.sub_bands to one of {fitting}, or use a number of bands that is a multiple of 40",
        )
    return rows
