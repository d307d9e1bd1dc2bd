"""MaskNet: looks at a frozen teacher's features and gives one mask value per feature (paper, section 3.3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError
from mstedge.training.adam import FactoredLinear
from mstedge.training.method.scalar_attention import attended_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLLAPSE_FROM_WIDTH = 192
_TOKEN_BYTES = 48 << 20  # tokens held at a time where no gradient needs them again


class MaskNet(nn.Module):
    """z -> sigmoid(Linear(MHSA(Projector(z)))), multiplied onto z.

    A vector tap of width D (a map of a single place is one too) is projected to D tokens of width H; self-attention
    mixes the tokens; each gives one mask value. A map tap is first reduced to one number per channel: depthwise 3x3
    stride 2, pointwise 1x1, BatchNorm, ReLU, global mean.

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
        self.reduce = _map_reducer(width) if math.prod(tap_shape[1:]) > 1 else nn.Flatten()
        self.project = FactoredLinear(width, width * hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.score = nn.Linear(hidden, 1)

    def mask(self, features: Tensor) -> Tensor:
        """Give mask values [batch, width], each between 0 and 1."""
        reduced = self.reduce(features)
        if not collapse_is_faster(reduced):
            return torch.sigmoid(self.plain_scores(reduced))
        if torch.is_grad_enabled():
            return torch.sigmoid(self.collapsed_scores(reduced))
        together = max(1, _TOKEN_BYTES // (self.project.out_features * reduced.element_size()))
        parts = reduced.tensor_split(max(1, math.ceil(len(reduced) / together)))
        return torch.sigmoid(torch.cat([self.collapsed_scores(some) for some in parts]))

    def plain_scores(self, reduced: Tensor) -> Tensor:
        """Give mask values before the sigmoid [batch, width] by torch's own attention."""
        tokens = self._tokens(reduced)
        mixed, _weights = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.score(mixed).squeeze(-1)  # type: ignore[no-any-return]

    def collapsed_scores(self, reduced: Tensor) -> Tensor:
        """Give the same as `plain_scores` by `attended_scores`, equal but for rounding."""
        return attended_scores(self._tokens(reduced), self.attention, self.score)

    def _tokens(self, reduced: Tensor) -> Tensor:
        return self.project(reduced).unflatten(1, (reduced.shape[1], -1))  # type: ignore[no-any-return]

    def forward(self, features: Tensor) -> Tensor:
        """Mask features [batch, width] or [batch, channels, height, width]."""
        mask = self.mask(features)
        return features * (mask if features.ndim == 2 else mask[:, :, None, None])


def collapse_is_faster(reduced: Tensor) -> bool:
    """Pick the path of a MaskNet's attention by what was measured; both give the same mask but for rounding.

    CPU-milliseconds of one thread for 32 rows in float32 (torch 2.13, x86-64 with AVX-512, shared with other work,
    least of 4 to 12), plain -> collapsed; gradients are whole, as without `FactoredLinear`'s factors:

    | width, hidden_dim_factor | forward | forward and backward |
    |---|---|---|
    | 84, 2 | 2.6 -> 4.4 | 9.3 -> 11.0 |
    | 128, 2 | 6.2 -> 6.1 | 18 -> 16 |
    | 160, 8 | 3.8 -> 4.7 | 11.3 -> 12.5 |
    | 192, 8 | 5.6 -> 5.8 | 16 -> 15 |
    | 256, 2 | 33 -> 21 | 100 -> 56 |
    | 298, 2 | 52 -> 29 | 177 -> 90 |
    | 596, 2 | 550 -> 292 | 1846 -> 1046 |
    | 1024, 8 | 379 -> 289 | 1384 -> 1016 |

    Below about 200 there is little to gain, so narrow taps keep torch's own path.
    Where it was not measured, on a GPU or under autocast, the plain path stays.

    Args:
        reduced: What the attention looks at, [rows, width].
    """
    if reduced.shape[1] < _COLLAPSE_FROM_WIDTH or reduced.device.type != "cpu":
        return False
    return not torch.is_autocast_enabled(reduced.device.type)


def _map_reducer(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels),
        nn.Conv2d(channels, channels, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
