"""Small networks for one sensor, and their fusion. Inputs are what the front end makes, batch first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

Shape = tuple[int, ...]


class Cnn(nn.Module):
    """A few convolutions over [channels, height, width]: log-mel pictures and images.

    Each block is a 3x3 convolution (stride 2 while both sides are at least 4), BatchNorm and ReLU; then the mean over
    places, a hidden layer and the classifier. Strides instead of pooling: on a CPU pooling costs more than it computes.
    Tap: `hidden` (before its activation).

    Args:
        input_shapes: One shape [channels, height, width].
        classes: Number of logits.
        channels: Width of each block.
        hidden: Width of the hidden layer.
    """

    def __init__(
        self, input_shapes: Sequence[Shape], classes: int, *, channels: Sequence[int] = (16, 32, 64), hidden: int = 64
    ) -> None:
        super().__init__()
        self.trunk = _cnn_trunk(_single(input_shapes, 3, "cnn"), channels)
        self.hidden = nn.Linear(channels[-1], hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, channels, height, width]."""
        embedding = self.trunk(values).mean(dim=(2, 3))
        return self.classifier(torch.relu(self.hidden(embedding)))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Fully connected layers over a flattened array. Tap: `hidden` (the last hidden layer, before its activation).

    Args:
        input_shapes: One shape, any rank.
        classes: Number of logits.
        widths: Width of each hidden layer.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int, *, widths: Sequence[int] = (128, 64)) -> None:
        super().__init__()
        size = math.prod(_single(input_shapes, None, "mlp"))
        layers: list[nn.Module] = [nn.Flatten()]
        for width in widths[:-1]:
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        self.trunk = nn.Sequential(*layers)
        self.hidden = nn.Linear(size, widths[-1])
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, *shape]."""
        return self.classifier(torch.relu(self.hidden(self.trunk(values))))  # type: ignore[no-any-return]


class Fusion(nn.Module):
    """One trunk per modality, their embeddings concatenated: the multimodal teacher.

    Pictures and sound [C, H, W] get a convolutional trunk, everything else a fully connected one.
    Taps: `fused` (the concatenation) and `hidden` (before its activation).

    Args:
        input_shapes: One shape per modality.
        classes: Number of logits.
        channels: Width of each block of a convolutional trunk; the last is the embedding's.
        hidden: Width of the hidden layer.
    """

    def __init__(
        self, input_shapes: Sequence[Shape], classes: int, *, channels: Sequence[int] = (16, 32, 64), hidden: int = 64
    ) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(_trunk(shape, channels) for shape in input_shapes)
        self.fused = nn.Identity()
        self.hidden = nn.Linear(channels[-1] * len(input_shapes), hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, *values: Tensor) -> Tensor:
        """Give logits [batch, classes] for one tensor per modality."""
        embeddings = [trunk(each) for trunk, each in zip(self.trunks, values, strict=True)]
        fused = self.fused(torch.cat(embeddings, dim=1))
        return self.classifier(torch.relu(self.hidden(fused)))  # type: ignore[no-any-return]


class _MeanOverPlaces(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.mean(dim=(2, 3))


def _trunk(shape: Shape, channels: Sequence[int]) -> nn.Module:
    if len(shape) == 3:
        return nn.Sequential(_cnn_trunk(shape, channels), _MeanOverPlaces())
    width = channels[-1]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    )


def _cnn_trunk(shape: Shape, channels: Sequence[int]) -> nn.Sequential:
    inputs, height, width = shape
    layers: list[nn.Module] = []
    for outputs in channels:
        stride = 2 if min(height, width) >= 4 else 1
        height, width = -(-height // stride), -(-width // stride)
        layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers.append(nn.ReLU())
        inputs = outputs
    return nn.Sequential(*layers)


def _single(shapes: Sequence[Shape], rank: int | None, network: str) -> Shape:
    if len(shapes) != 1 or (rank is not None and len(shapes[0]) != rank):
        wanted = "one modality" if rank is None else "one modality with features [channels, height, width]"
        raise ConfigError(f"network {network!r} takes {wanted}, not {list(shapes)}")
    return shapes[0]
