"""A small transformer over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError
from mstedge.training.models.classifier import Classifier, Shape, single_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_WAVE = 10_000.0


class AttentionNet(Classifier):
    """A transformer encoder over time (Vaswani et al. 2017, arXiv 1706.03762; pre-norm: Xiong et al. 2020).

    Each step is embedded linearly and gets a sinusoidal position; then blocks of self-attention and a two-layer
    perceptron, each behind a LayerNorm; the mean over steps, a hidden layer and the classifier. Positions are computed,
    not learnt: the same weights take any number of steps. Tap: `hidden` (before its activation).

    Args:
        input_shapes: One shape: [1, frames, bands] or [steps, features].
        classes: Number of logits.
        width: Width of the embedding.
        heads: Attention heads; divides `width`.
        blocks: Number of blocks.
        hidden: Width of the hidden layer.
    """

    def __init__(
        self,
        input_shapes: Sequence[Shape],
        classes: int,
        *,
        width: int = 48,
        heads: int = 4,
        blocks: int = 2,
        hidden: int = 64,
    ) -> None:
        shape = single_shape(input_shapes, None, "attention")
        if len(shape) != 2 and (len(shape) != 3 or shape[0] != 1):
            raise ConfigError(
                f"network 'attention' takes features [1, frames, bands] or [steps, features], not {shape}"
            )
        if width % heads or width % 2:
            raise ConfigError(f"network 'attention' has width {width}: expected an even multiple of {heads} heads")
        super().__init__(_Encoder(shape[-1], width, heads, blocks), width, hidden, classes)


class _Encoder(nn.Module):
    def __init__(self, features: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        # Time first: a transposition right before a matrix product in fp16 crashes ONNX Runtime 1.24 and later on x86.
        steps = self.embedding(values.flatten(1, -2)).transpose(0, 1)
        steps = steps + sinusoids(len(steps), steps.shape[2]).to(steps)[:, None]
        for block in self.blocks:
            steps = block(steps)
        return self.norm(steps).mean(dim=0)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, steps: Tensor) -> Tensor:
        normed = self.attention_norm(steps)
        steps = steps + self.attention(normed, normed, normed, need_weights=False)[0]
        return steps + self.perceptron(steps)  # type: ignore[no-any-return]


def sinusoids(steps: int, width: int) -> Tensor:
    """Give the positions of Vaswani et al., section 3.5: sines, then cosines, of `width / 2` wavelengths.

    Returns:
        float32 [steps, width].
    """
    places = torch.arange(steps, dtype=torch.float32)[:, None]
    waves = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(_LONGEST_WAVE) / width))
    return torch.cat([torch.sin(places * waves), torch.cos(places * waves)], dim=1)
