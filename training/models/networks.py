"""Small networks for one sensor, and their fusion. Inputs are what the front end makes, batch first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError, nearest
from mstedge.training.models.classifier import Classifier, MeanOverPlaces, Shape, single_shape

if TYPE_CHECKING:
    from collections.abc import Sequence


class Cnn(Classifier):
    """A few convolutions over [channels, height, width]: log-mel pictures and images.

    Each block is 3x3 convolution, BatchNorm, ReLU, and 2x2 max pooling while both sides allow it; then the mean over
    places, a hidden layer and the classifier. Tap: `hidden` (before its activation).

    Args:
        input_shapes: One shape [channels, height, width].
        classes: Number of logits.
        channels: Width of each block.
        hidden: Width of the hidden layer.
    """

    def __init__(
        self, input_shapes: Sequence[Shape], classes: int, *, channels: Sequence[int] = (16, 32, 64), hidden: int = 64
    ) -> None:
        super().__init__(_cnn_trunk(single_shape(input_shapes, 3, "cnn"), channels), channels[-1], hidden, classes)


class TemporalCnn(Classifier):
    """Convolutions over time with the bands as channels: sound on a small CPU (Choi et al. 2019, arXiv 1904.03814).

    Each block is a convolution over five frames (stride 2 from the second block on), BatchNorm and ReLU; then the mean
    over time, a hidden layer and the classifier. Feature maps have no frequency axis and are small: it trains several
    times as fast as `cnn` on the same sound. Tap: `hidden` (before its activation).

    Args:
        input_shapes: One shape [1, frames, bands].
        classes: Number of logits.
        channels: Width of each block.
        hidden: Width of the hidden layer.
    """

    def __init__(
        self, input_shapes: Sequence[Shape], classes: int, *, channels: Sequence[int] = (48, 48, 64), hidden: int = 64
    ) -> None:
        super().__init__(
            _temporal_trunk(single_shape(input_shapes, 3, "temporal"), channels), channels[-1], hidden, classes
        )


class Mlp(Classifier):
    """Fully connected layers over a flattened array. Tap: `hidden` (the last hidden layer, before its activation).

    Args:
        input_shapes: One shape, any rank.
        classes: Number of logits.
        widths: Width of each hidden layer.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int, *, widths: Sequence[int] = (128, 64)) -> None:
        size = math.prod(single_shape(input_shapes, None, "mlp"))
        layers: list[nn.Module] = [nn.Flatten()]
        for width in widths[:-1]:
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        super().__init__(nn.Sequential(*layers), size, widths[-1], classes)


class Fusion(nn.Module):
    """One trunk per modality, their embeddings concatenated: the multimodal teacher.

    Taps: `fused` (the concatenation) and `hidden` (before its activation).

    Args:
        input_shapes: One shape per modality.
        classes: Number of logits.
        trunks: Kind of each trunk: `cnn`, `temporal` or `mlp`. Empty: `cnn` for [C, H, W], `mlp` for everything else.
        channels: Width of each block of a convolutional trunk; the last is the width of every embedding.
        hidden: Width of the hidden layer.
    """

    def __init__(
        self,
        input_shapes: Sequence[Shape],
        classes: int,
        *,
        trunks: Sequence[str] = (),
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 64,
    ) -> None:
        super().__init__()
        kinds = trunks or ["cnn" if len(shape) == 3 else "mlp" for shape in input_shapes]
        if len(kinds) != len(input_shapes):
            raise ConfigError(f"fusion has {len(kinds)} trunks for {len(input_shapes)} modalities")
        pairs = zip(kinds, input_shapes, strict=True)
        self.trunks = nn.ModuleList(_trunk(kind, shape, channels) for kind, shape in pairs)
        self.fused = nn.Identity()
        self.hidden = nn.Linear(channels[-1] * len(input_shapes), hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, *values: Tensor) -> Tensor:
        """Give logits [batch, classes] for one tensor per modality."""
        embeddings = [trunk(each) for trunk, each in zip(self.trunks, values, strict=True)]
        fused = self.fused(torch.cat(embeddings, dim=1))
        return self.classifier(torch.relu(self.hidden(fused)))  # type: ignore[no-any-return]


class _BandsAsChannels(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.flatten(1, 2).transpose(1, 2)


def _trunk(kind: str, shape: Shape, channels: Sequence[int]) -> nn.Module:
    """Make a trunk that gives one embedding [batch, channels[-1]]."""
    if kind == "cnn":
        return _cnn_trunk(single_shape([shape], 3, kind), channels)
    if kind == "temporal":
        return _temporal_trunk(single_shape([shape], 3, kind), channels)
    if kind == "mlp":
        width = channels[-1]
        first = nn.Linear(math.prod(shape), width)
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    raise ConfigError(f"there is no trunk {kind!r}", hint=nearest(kind, ("cnn", "temporal", "mlp")))


def _cnn_trunk(shape: Shape, channels: Sequence[int]) -> nn.Sequential:
    inputs, height, width = shape
    layers: list[nn.Module] = []
    for outputs in channels:
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        if min(height, width) >= 4:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        inputs = outputs
    return nn.Sequential(*layers, MeanOverPlaces())


def _temporal_trunk(shape: Shape, channels: Sequence[int]) -> nn.Sequential:
    inputs = shape[0] * shape[2]
    layers: list[nn.Module] = [_BandsAsChannels()]
    for position, outputs in enumerate(channels):
        stride = 2 if position else 1
        layers.append(nn.Conv1d(inputs, outputs, 5, stride=stride, padding=2, bias=False))
        layers += [nn.BatchNorm1d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, MeanOverPlaces())
