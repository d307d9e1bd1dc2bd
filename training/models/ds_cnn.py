"""DS-CNN: depthwise separable convolutions for spoken words on a microcontroller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mstedge.errors import ConfigError, nearest
from mstedge.training.models.classifier import MeanOverPlaces, Shape
from mstedge.training.models.sound import sound_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIRST_KERNEL = (10, 4)  # frames, bands


@dataclass(frozen=True, slots=True)
class _Size:
    channels: int
    blocks: int
    first_stride: tuple[int, int]
    second_stride: tuple[int, int]


_SIZES = {
    "S": _Size(64, 4, (2, 2), (1, 1)),
    "M": _Size(172, 4, (2, 1), (2, 2)),
    "L": _Size(276, 5, (2, 1), (2, 2)),
}


class DsCnn(nn.Module):
    """Depthwise separable convolutions (Zhang, Suda, Lai, Chandra 2017, "Hello Edge", arXiv 1711.07128, section 4.2).

    A convolution over 10 frames and 4 bands, then blocks of a 3x3 convolution within each channel and a 1x1 convolution
    across them, each followed by BatchNorm and ReLU; the mean over places and the classifier. Sizes and strides are
    those of the authors' training commands. The same weights take any number of frames. Tap: `hidden` (the mean over
    places, one value per channel).

    Args:
        input_shapes: One shape [1, frames, bands]; published with 49 frames of 10 MFCC.
        classes: Number of logits.
        size: `S`, `M` or `L`.

    Raises:
        ConfigError: The input is no sound, or there is no such size.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int, *, size: str = "S") -> None:
        super().__init__()
        sound_shape(input_shapes, "ds-cnn")
        if size not in _SIZES:
            raise ConfigError(f"network 'ds-cnn' has no size {size!r}", hint=nearest(str(size), _SIZES))
        chosen = _SIZES[size]
        self.trunk = _trunk(chosen)
        self.hidden = MeanOverPlaces()
        self.classifier = nn.Linear(chosen.channels, classes)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, 1, frames, bands]."""
        return self.classifier(self.hidden(self.trunk(values)))  # type: ignore[no-any-return]


def _trunk(size: _Size) -> nn.Sequential:
    frames, bands = _FIRST_KERNEL
    layers: list[nn.Module] = [
        # As many places as the stride leaves, whatever their number: the kernel is even, so one side gets one more.
        nn.ZeroPad2d(((bands - 1) // 2, bands // 2, (frames - 1) // 2, frames // 2)),
        *_with_norm(nn.Conv2d(1, size.channels, _FIRST_KERNEL, size.first_stride, bias=False)),
    ]
    for block in range(size.blocks):
        stride = (1, 1) if block else size.second_stride
        within = nn.Conv2d(size.channels, size.channels, 3, stride, 1, groups=size.channels, bias=False)
        layers += [*_with_norm(within), *_with_norm(nn.Conv2d(size.channels, size.channels, 1, bias=False))]
    return nn.Sequential(*layers)


def _with_norm(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]
