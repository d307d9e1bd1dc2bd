"""NYU-Depth-V2: FuseNet with intermediate fusion (Hazirbas et al. 2016), and its two branches.

Both unpool where they pooled, as SegNet does (Badrinarayanan et al. 2017), without indices. Details are those of the
reference implementation of MST-Distill (Li et al., arXiv 2507.07015).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from mstedge.errors import ConfigError
from mstedge.training.models.classifier import Shape, single_shape
from mstedge.training.models.published.vgg16 import CHANNELS, CONVOLUTIONS, block, encoder, load_encoder
from mstedge.training.models.unpooling import Places, pool_with_places, unpool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_LEVELS = len(CHANNELS)
_FIRST_DROPPED = 3
_DROPOUT = 0.4


class FuseNet(nn.Module):
    """RGB and depth to a class for every pixel: FuseNet-I.

    Two VGG-16 encoders with BatchNorm; before each pooling, the last one included, the RGB path goes on with the mean
    of both. One decoder unpools to the places of the RGB path. Dropout follows pooling from the third block on, and the
    decoder's blocks 5, 4 and 3. Taps: `fused` (after the last fusion and pooling) and `decoder.block5`.

    Args:
        input_shapes: [3, height, width] and [1, height, width], the same multiples of 32.
        classes: Number of logits per pixel.
        channels: Width of each of the five blocks.
        dropout: Share of values that are dropped.

    Raises:
        ConfigError: Shapes or channels are others.
    """

    def __init__(
        self,
        input_shapes: Sequence[Shape],
        classes: int,
        *,
        channels: Sequence[int] = CHANNELS,
        dropout: float = _DROPOUT,
    ) -> None:
        super().__init__()
        shapes = [tuple(shape) for shape in input_shapes]
        if [shape[:1] for shape in shapes] != [(3,), (1,)] or shapes[0][1:] != shapes[1][1:]:
            raise ConfigError(
                f"network 'fusenet' takes [3, height, width] and [1, height, width] of one size, not {shapes}"
            )
        _require(shapes[0], channels, "fusenet")
        self.rgb_encoder, self.depth_encoder = encoder(3, channels), encoder(1, channels)
        self.dropout = nn.Dropout(dropout)
        self.fused = nn.Identity()
        self.decoder = Decoder(channels, classes, dropout=dropout)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Give logits [batch, classes, height, width] for [batch, 3, height, width] and [batch, 1, height, width]."""
        kept: list[Places] = []
        pairs = zip(self.rgb_encoder.values(), self.depth_encoder.values(), strict=True)
        for level, (rgb_block, depth_block) in enumerate(pairs, start=1):
            depth = depth_block(depth)
            rgb, places = pool_with_places((rgb_block(rgb) + depth) / 2)
            kept.append(places)
            if level >= _FIRST_DROPPED:
                rgb = self.dropout(rgb)
            if level < _LEVELS:
                depth = functional.max_pool2d(depth, 2)
                depth = self.dropout(depth) if level >= _FIRST_DROPPED else depth
        return self.decoder(self.fused(rgb), kept)  # type: ignore[no-any-return]

    def start_from_imagenet(self, path: Path) -> None:
        """Load both encoders from a VGG-16, the depth encoder's first filter averaged over colours.

        Args:
            path: As for `vgg16_encoder_weights`.

        Raises:
            UsageError: The file cannot be read.
            ConfigError: It does not fit.
        """
        load_encoder(self.rgb_encoder, path)
        load_encoder(self.depth_encoder, path)


class FuseNetBranch(nn.Module):
    """One branch of FuseNet with a decoder of its own. Taps: `encoder.block5` and `decoder.block5`.

    Args:
        input_shapes: One shape [inputs, height, width]; sides are multiples of 32.
        classes: Number of logits per pixel.
        inputs: Channels of the sensor: 3 for RGB, 1 for depth.
        channels: Width of each of the five blocks.
        dropout: Share of values that are dropped, where FuseNet drops them.

    Raises:
        ConfigError: Shape or channels are others.
    """

    def __init__(
        self,
        input_shapes: Sequence[Shape],
        classes: int,
        *,
        inputs: int,
        channels: Sequence[int] = CHANNELS,
        dropout: float = _DROPOUT,
    ) -> None:
        super().__init__()
        name = "fusenet-depth" if inputs == 1 else "fusenet-rgb"
        shape = single_shape(input_shapes, 3, name)
        if shape[0] != inputs:
            raise ConfigError(f"network {name!r} takes features [{inputs}, height, width], not {shape}")
        _require(shape, channels, name)
        self.encoder = encoder(inputs, channels)
        self.dropout = nn.Dropout(dropout)
        self.decoder = Decoder(channels, classes, dropout=dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes, height, width] for [batch, inputs, height, width]."""
        kept: list[Places] = []
        for level, encode in enumerate(self.encoder.values(), start=1):
            values, places = pool_with_places(encode(values))
            kept.append(places)
            if level >= _FIRST_DROPPED:
                values = self.dropout(values)
        return self.decoder(values, kept)  # type: ignore[no-any-return]

    def start_from_imagenet(self, path: Path) -> None:
        """Load the encoder from a VGG-16; for depth the first filter is averaged over colours.

        Args:
            path: As for `vgg16_encoder_weights`.

        Raises:
            UsageError: The file cannot be read.
            ConfigError: It does not fit.
        """
        load_encoder(self.encoder, path)


class Decoder(nn.Module):
    """Blocks 5 to 1, each after unpooling, and the classifier, a 3x3 convolution.

    Args:
        channels: Width of each of the encoder's blocks.
        classes: Number of logits per pixel.
        dropout: Share of values that are dropped after blocks 5, 4 and 3.
    """

    def __init__(self, channels: Sequence[int], classes: int, *, dropout: float) -> None:
        super().__init__()
        for level in range(_LEVELS, 1, -1):
            inputs, outputs = channels[level - 1], channels[level - 2]
            self.add_module(f"block{level}", block(inputs, [inputs] * (CONVOLUTIONS[level - 1] - 1) + [outputs]))
        self.block1 = block(channels[0], [channels[0]])
        self.classifier = nn.Conv2d(channels[0], classes, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, kept: list[Places]) -> Tensor:
        """Give logits at the size of the encoder's input.

        Args:
            values: [batch, channels, height / 32, width / 32].
            kept: Places of the encoder's maxima, the first pooling first; taken from the list.
        """
        for level in range(_LEVELS, 0, -1):
            values = self.get_submodule(f"block{level}")(unpool(values, kept.pop()))
            if level >= _FIRST_DROPPED:
                values = self.dropout(values)
        return self.classifier(values)  # type: ignore[no-any-return]


DENSE_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "fusenet": FuseNet,
    "fusenet-rgb": partial(FuseNetBranch, inputs=3),
    "fusenet-depth": partial(FuseNetBranch, inputs=1),
}


def _require(shape: Shape, channels: Sequence[int], name: str) -> None:
    step = 2**_LEVELS
    if len(channels) != _LEVELS:
        raise ConfigError(f"network {name!r} takes the channels of {_LEVELS} blocks, not {list(channels)}")
    if len(shape) != 3 or any(side % step for side in shape[1:]):
        raise ConfigError(f"network {name!r} takes sides that are multiples of {step}, not {list(shape[1:])}")
