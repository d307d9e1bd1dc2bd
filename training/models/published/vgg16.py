"""VGG-16 as an encoder (Simonyan and Zisserman 2015, arXiv 1409.1556, configuration D), and its ImageNet weights."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mstedge.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 3, 3, 3)
_COLOURS = 3
_NORM_KEYS = ("weight", "bias", "running_mean", "running_var")
_HOW_TO_MAKE = (
    "save_file(torchvision.models.vgg16(weights='DEFAULT').state_dict(), path), of safetensors.torch, makes one"
)


def encoder(inputs: int, channels: Sequence[int] = CHANNELS) -> nn.ModuleDict:
    """Make the five blocks, `block1` to `block5`; pooling between them is the caller's.

    Args:
        inputs: Channels of the input.
        channels: Width of each block.
    """
    blocks = nn.ModuleDict()
    for level, (width, count) in enumerate(zip(channels, CONVOLUTIONS, strict=True), start=1):
        blocks[f"block{level}"] = block(inputs, [width] * count)
        inputs = width
    return blocks


def block(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Make 3x3 convolutions, each with BatchNorm and ReLU: `conv1`, `norm1`, `relu1`, `conv2`, ...

    Convolutions keep the bias that BatchNorm makes superfluous: published weights have one.

    Args:
        inputs: Channels of the input.
        widths: Channels after each convolution.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(widths, start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, width, 3, padding=1)
        layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
        inputs = width
    return nn.Sequential(layers)


def vgg16_encoder_weights(path: Path, *, inputs: int = _COLOURS) -> dict[str, Tensor]:
    """Read the weights of a VGG-16 under the names that `encoder` gives them.

    Args:
        path: A safetensors file with torchvision's names, `features.N.*`: those of its `vgg16`, which the published
            configuration starts from, or of its `vgg16_bn`. What else it holds (the classifier) is not read.
        inputs: 3 for colours; 1 averages the first filter over them.

    Returns:
        Convolutions, float32, in an encoder of full width; for `vgg16_bn` also BatchNorm and its statistics.

    Raises:
        UsageError: The file cannot be read.
        ConfigError: A tensor is missing or has another shape.
    """
    if inputs not in {1, _COLOURS}:
        raise ConfigError(f"ImageNet weights are for 3 channels, or averaged for 1, not for {inputs}")
    expected = encoder(_COLOURS).to("meta").state_dict()
    weights = {}
    try:
        with safe_open(path, framework="pt") as file:
            keys = set(file.keys())
            for ours, theirs in _names(with_norm="features.1.running_mean" in keys):
                if theirs not in keys:
                    raise ConfigError(f"{path}: no tensor {theirs!r}: expected a VGG-16", hint=_HOW_TO_MAKE)
                weights[ours] = file.get_tensor(theirs).float()
                found, wanted = tuple(weights[ours].shape), tuple(expected[ours].shape)
                if found != wanted:
                    raise ConfigError(f"{path}: {theirs!r} has shape {found}: a VGG-16 has {wanted}", hint=_HOW_TO_MAKE)
    except (OSError, SafetensorError) as problem:
        raise UsageError(f"{path}: cannot be read as safetensors: {problem}", hint=_HOW_TO_MAKE) from problem
    if inputs == 1:
        weights["block1.conv1.weight"] = weights["block1.conv1.weight"].mean(dim=1, keepdim=True)
    return weights


def load_encoder(blocks: nn.ModuleDict, path: Path) -> None:
    """Start an encoder from a file's weights; BatchNorm stays as it is where the file has none.

    Args:
        blocks: From `encoder`, of full width.
        path: As for `vgg16_encoder_weights`.

    Raises:
        UsageError: The file cannot be read.
        ConfigError: It does not fit.
    """
    own = blocks.state_dict()
    widths = tuple(own[f"block{level}.conv1.weight"].shape[0] for level in range(1, len(CHANNELS) + 1))
    if widths != CHANNELS:
        raise ConfigError(f"ImageNet weights fit an encoder with channels {CHANNELS}, not {widths}")
    weights = vgg16_encoder_weights(path, inputs=own["block1.conv1.weight"].shape[1])
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def _names(*, with_norm: bool) -> Iterator[tuple[str, str]]:
    """Give pairs of names: ours and torchvision's, whose layers are numbered, activations and pooling included."""
    position = 0
    for level, count in enumerate(CONVOLUTIONS, start=1):
        for number in range(1, count + 1):
            for key in ("weight", "bias"):
                yield f"block{level}.conv{number}.{key}", f"features.{position}.{key}"
            if with_norm:
                for key in _NORM_KEYS:
                    yield f"block{level}.norm{number}.{key}", f"features.{position + 1}.{key}"
            position += 3 if with_norm else 2
        position += 1
