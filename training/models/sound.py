"""What networks for sound take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.errors import ConfigError
from mstedge.training.models.classifier import Shape, single_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_AXES = "[1, frames, bands]"


def sound_shape(shapes: Sequence[Shape], network: str) -> Shape:
    """Take the only shape, which is that of log-mel or MFCC.

    Args:
        shapes: One shape per modality.
        network: What the network is called, for the message.

    Raises:
        ConfigError: There are several, or it is not [1, frames, bands].
    """
    shape = single_shape(shapes, 3, network, axes=_AXES)
    if shape[0] != 1:
        raise ConfigError(f"network {network!r} takes one modality with features {_AXES}, not {list(shape)}")
    return shape
