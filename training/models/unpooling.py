"""Max pooling that remembers where each maximum stood, and its inverse, in operators that every engine has.

`torch.nn.MaxUnpool2d` takes indices, which TensorRT's ONNX parser refuses and which others scatter one by one. For
windows of 2x2 at stride 2 three comparisons say the same: which row holds the maximum, and which column in each row.
One place always wins, whatever an engine rounds; comparing with the pooled value instead could find none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Places:
    """Where the first maximum of each 2x2 window stands, in reading order; bool [batch, channels, height, width].

    Attributes:
        top: In the upper row.
        top_left: If it is in the upper row, in its left column.
        bottom_left: If it is in the lower row, in its left column.
    """

    top: Tensor
    top_left: Tensor
    bottom_left: Tensor


def pool_with_places(values: Tensor) -> tuple[Tensor, Places]:
    """Pool 2x2 windows, and say where each maximum stood.

    Args:
        values: [batch, channels, height, width] with even height and width, no NaN.

    Returns:
        The maxima [batch, channels, height / 2, width / 2], and their places: those of
        `max_pool2d(values, 2, return_indices=True)`, the first of equals included.

    Raises:
        ConfigError: A side is odd.
    """
    if values.shape[2] % 2 or values.shape[3] % 2:
        raise ConfigError(f"a map of {values.shape[2]}x{values.shape[3]} cannot be pooled and unpooled: a side is odd")
    fixed = values.detach()
    upper_left, upper_right = fixed[:, :, 0::2, 0::2], fixed[:, :, 0::2, 1::2]
    lower_left, lower_right = fixed[:, :, 1::2, 0::2], fixed[:, :, 1::2, 1::2]
    places = Places(
        top=torch.maximum(upper_left, upper_right) >= torch.maximum(lower_left, lower_right),
        top_left=upper_left >= upper_right,
        bottom_left=lower_left >= lower_right,
    )
    return functional.max_pool2d(values, 2), places


def unpool(pooled: Tensor, places: Places) -> Tensor:
    """Put each value back where the maximum stood, zero elsewhere: `max_unpool2d(pooled, indices, 2)`.

    Args:
        pooled: [batch, channels, height, width].
        places: Of the same shape, from `pool_with_places`.

    Returns:
        [batch, channels, 2 * height, 2 * width].
    """
    upper, lower = torch.where(places.top, pooled, 0.0), torch.where(places.top, 0.0, pooled)
    quarters = [
        torch.where(places.top_left, upper, 0.0),
        torch.where(places.top_left, 0.0, upper),
        torch.where(places.bottom_left, lower, 0.0),
        torch.where(places.bottom_left, 0.0, lower),
    ]
    return functional.pixel_shuffle(torch.stack(quarters, dim=2).flatten(1, 2), 2)
