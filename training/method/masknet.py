"""MaskNet: looks at a frozen teacher's features and gives one mask value per feature (paper, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class MaskNet(nn.Module):
    """z -> sigmoid(Linear(MHSA(Projector(z)))), multiplied onto z.

    A vector tap of width D is projected to D tokens of width H; self-attention mixes the tokens; each gives one mask
    value. A map tap is first reduced to one number per channel: depthwise 3x3 stride 2, pointwise 1x1, BatchNorm, ReLU,
    global mean.

    Args:
        tap_shape: [width] or [channels, height, width].
        heads: Attention heads.
        hidden_dim_factor: Divides H = floor(D / (factor * heads)) * heads.

    Raises:
        ConfigError: The tap is too narrow for so many heads.
    """

    def __init__(self, tap_shape: Sequence[int], *, heads: int = 3, hidden_dim_factor: int = 2) -> None:
        super().__init__()
        width = tap_shape[0]
        hidden = width // (hidden_dim_factor * heads) * heads
        if hidden == 0:
            raise ConfigError(f"a tap of width {width} is too narrow for {heads} heads and factor {hidden_dim_factor}")
        self.reduce = _map_reducer(width) if len(tap_shape) == 3 else nn.Identity()
        self.project = nn.Linear(width, width * hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.score = nn.Linear(hidden, 1)

    def mask(self, features: Tensor) -> Tensor:
        """Give mask values [batch, width], each between 0 and 1."""
        reduced = self.reduce(features)
        tokens = self.project(reduced).unflatten(1, (reduced.shape[1], -1))
        mixed, _weights = self.attention(tokens, tokens, tokens, need_weights=False)
        return torch.sigmoid(self.score(mixed).squeeze(-1))

    def forward(self, features: Tensor) -> Tensor:
        """Mask features [batch, width] or [batch, channels, height, width]."""
        mask = self.mask(features)
        return features * (mask if features.ndim == 2 else mask[:, :, None, None])


def _map_reducer(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels),
        nn.Conv2d(channels, channels, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
