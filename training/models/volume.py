"""Convolutions over space and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from mstedge.training.models.classifier import Classifier, MeanOverPlaces, Shape, single_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_AXES = "[channels, frames, height, width]"


class VolumeCnn(Classifier):
    """Convolutions over space and time for clips of pictures (C3D, Tran et al. 2015, arXiv 1412.0767, far smaller).

    Each block is 3x3x3 convolution, BatchNorm, ReLU, and max pooling that halves every side of four or more; then the
    mean over places, a hidden layer and the classifier. Tap: `hidden` (before its activation).

    Args:
        input_shapes: One shape [channels, frames, height, width].
        classes: Number of logits.
        channels: Width of each block.
        hidden: Width of the hidden layer.
    """

    def __init__(
        self, input_shapes: Sequence[Shape], classes: int, *, channels: Sequence[int] = (8, 16, 32), hidden: int = 64
    ) -> None:
        shape = single_shape(input_shapes, 4, "volume", axes=_AXES)
        super().__init__(_volume_trunk(shape, channels), channels[-1], hidden, classes)


def _volume_trunk(shape: Shape, channels: Sequence[int]) -> nn.Sequential:
    inputs, *sides = shape
    layers: list[nn.Module] = []
    for outputs in channels:
        layers += [nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]
        steps = [2 if side >= 4 else 1 for side in sides]
        if max(steps) > 1:
            layers.append(nn.MaxPool3d((steps[0], steps[1], steps[2])))
        sides = [side // step for side, step in zip(sides, steps, strict=True)]
        inputs = outputs
    return nn.Sequential(*layers, MeanOverPlaces())
