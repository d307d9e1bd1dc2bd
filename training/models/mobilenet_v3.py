"""MobileNetV3-Small: inverted residuals with squeeze-and-excite for pictures on phones and smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mstedge.errors import ConfigError
from mstedge.training.models.classifier import MeanOverPlaces, Shape, single_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIRST_CHANNELS = 16
_LAST_EXPANSION = 6  # of the last convolution
_HIDDEN = 1024
_DIVISOR = 8
_SQUEEZE = 4


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the paper's table 2; `expansion` is the expanded width per input channel."""

    kernel: int
    expansion: float
    channels: int
    squeeze: bool
    swish: bool
    stride: int


_ROWS = (
    _Row(3, 1, 16, squeeze=True, swish=False, stride=2),
    _Row(3, 72 / 16, 24, squeeze=False, swish=False, stride=2),
    _Row(3, 88 / 24, 24, squeeze=False, swish=False, stride=1),
    _Row(5, 4, 40, squeeze=True, swish=True, stride=2),
    _Row(5, 6, 40, squeeze=True, swish=True, stride=1),
    _Row(5, 6, 40, squeeze=True, swish=True, stride=1),
    _Row(5, 3, 48, squeeze=True, swish=True, stride=1),
    _Row(5, 3, 48, squeeze=True, swish=True, stride=1),
    _Row(5, 6, 96, squeeze=True, swish=True, stride=2),
    _Row(5, 6, 96, squeeze=True, swish=True, stride=1),
    _Row(5, 6, 96, squeeze=True, swish=True, stride=1),
)


class MobileNetV3Small(nn.Module):
    """MobileNetV3-Small (Howard et al. 2019, arXiv 1905.02244, table 2).

    Taps: `blocks` (the maps of the last block, 96 channels at width 1) and `hidden` (the layer of 1024 before the
    classifier, before its activation; a MaskNet of that width is large).

    Args:
        input_shapes: One shape [channels, height, width]; published with [3, 224, 224]. Sides shrink to 1/32.
        classes: Number of logits.
        width: Factor on every number of channels, rounded to a multiple of 8 that is not more than a tenth smaller. The
            hidden layer grows with it and does not shrink, as in the published 0.75.
        first_stride: 2 as published, or 1 for pictures of some ten pixels.
        dropout: Share of the hidden layer that is dropped while training.

    Raises:
        ConfigError: The input is no picture, or an option makes no sense.
    """

    def __init__(
        self,
        input_shapes: Sequence[Shape],
        classes: int,
        *,
        width: float = 1.0,
        first_stride: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        inputs = single_shape(input_shapes, 3, "mobilenet-v3-small")[0]
        if width <= 0:
            raise ConfigError(f"network 'mobilenet-v3-small' has width {width}: expected a positive factor")
        if first_stride not in {1, 2}:
            raise ConfigError(f"network 'mobilenet-v3-small' has first_stride {first_stride}: expected 1 or 2")
        channels = rounded_channels(_FIRST_CHANNELS * width)
        layers = _convolution(inputs, channels, 3, stride=first_stride, activation=nn.Hardswish())
        for row in _ROWS:
            outputs = rounded_channels(row.channels * width)
            layers.append(_Block(channels, outputs, row))
            channels = outputs
        self.blocks = nn.Sequential(*layers)
        last = rounded_channels(_LAST_EXPANSION * channels)
        self.pooled = nn.Sequential(*_convolution(channels, last, 1, activation=nn.Hardswish()), MeanOverPlaces())
        hidden = max(_HIDDEN, rounded_channels(_HIDDEN * width))
        self.hidden = nn.Linear(last, hidden)
        self.classifier = nn.Sequential(nn.Hardswish(), nn.Dropout(dropout), nn.Linear(hidden, classes))

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, channels, height, width]."""
        return self.classifier(self.hidden(self.pooled(self.blocks(values))))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, row: _Row) -> None:
        super().__init__()
        expanded = rounded_channels(inputs * row.expansion)
        activation = nn.Hardswish() if row.swish else nn.ReLU()
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers += _convolution(inputs, expanded, 1, activation=activation)
        layers += _convolution(
            expanded, expanded, row.kernel, stride=row.stride, groups=expanded, activation=activation
        )
        if row.squeeze:
            layers.append(_SqueezeAndExcite(expanded))
        self.residual = nn.Sequential(*layers, *_convolution(expanded, outputs, 1))
        self.adds = row.stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        change = self.residual(maps)
        return maps + change if self.adds else change  # type: ignore[no-any-return]


class _SqueezeAndExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = rounded_channels(channels / _SQUEEZE)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.gate(maps.mean(dim=(2, 3), keepdim=True))  # type: ignore[no-any-return]


def rounded_channels(channels: float) -> int:
    """Round to the nearest multiple of 8, or the next one where that loses more than a tenth (and to 8 at least)."""
    nearest = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return nearest + _DIVISOR if nearest < 0.9 * channels else nearest


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: nn.Module | None = None,
) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), *([activation] if activation else [])]
