"""What every network for one sensor shares: a hidden layer and a classifier on a trunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

Shape = tuple[int, ...]


class Classifier(nn.Module):
    """A trunk, a hidden layer and the classifier: what every network for one sensor is."""

    def __init__(self, trunk: nn.Module, embedding: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.hidden = nn.Linear(embedding, hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, *input_shape]."""
        return self.classifier(torch.relu(self.hidden(self.trunk(values))))  # type: ignore[no-any-return]


class MeanOverPlaces(nn.Module):
    """The mean of each channel over all its places."""

    def forward(self, values: Tensor) -> Tensor:
        """Give [batch, channels] for [batch, channels, *places]."""
        return values.flatten(2).mean(dim=2)


def single_shape(
    shapes: Sequence[Shape], rank: int | None, network: str, *, axes: str = "[channels, height, width]"
) -> Shape:
    """Take the only shape.

    Args:
        shapes: One shape per modality.
        rank: How many axes it must have; none for any number.
        network: What the network is called, for the message.
        axes: What they are, for the message.

    Raises:
        ConfigError: There are several, or it has another rank.
    """
    if len(shapes) != 1 or (rank is not None and len(shapes[0]) != rank):
        wanted = "one modality" if rank is None else f"one modality with features {axes}"
        raise ConfigError(f"network {network!r} takes {wanted}, not {list(shapes)}")
    return shapes[0]
