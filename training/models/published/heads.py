"""Three fully connected layers on one branch or on several: the head of every published network but AV-MNIST's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Head(nn.Module):
    def __init__(self, features: int, widths: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, widths[0])
        self.fc2 = nn.Linear(widths[0], widths[1])
        self.fc3 = nn.Linear(widths[1], classes)

    def logits(self, features: Tensor) -> Tensor:
        hidden = torch.relu(self.fc2(torch.relu(self.fc1(features))))
        return self.fc3(hidden)  # type: ignore[no-any-return]


class OneBranch(_Head):
    """A trunk for one modality and its head. Taps: `fc1` and `fc2` (before their activations).

    Args:
        trunk: Gives [batch, features].
        features: Width of what the trunk gives.
        widths: Of `fc1` and `fc2`.
        classes: Number of logits.
    """

    def __init__(self, trunk: nn.Module, features: int, widths: tuple[int, int], classes: int) -> None:
        super().__init__(features, widths, classes)
        self.trunk = trunk

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, *input_shape]."""
        return self.logits(self.trunk(values))


class FusedBranches(_Head):
    """A trunk per modality, concatenated, and their head. Taps: `fused` (the concatenation), `fc1` and `fc2`.

    Args:
        trunks: One per modality; each gives [batch, features].
        features: Width of what all trunks give together.
        widths: Of `fc1` and `fc2`.
        classes: Number of logits.
    """

    def __init__(self, trunks: Sequence[nn.Module], features: int, widths: tuple[int, int], classes: int) -> None:
        super().__init__(features, widths, classes)
        self.trunks = nn.ModuleList(trunks)
        self.fused = nn.Identity()

    def forward(self, *values: Tensor) -> Tensor:
        """Give logits [batch, classes] for one tensor per modality."""
        branches = [trunk(each) for trunk, each in zip(self.trunks, values, strict=True)]
        return self.logits(self.fused(torch.cat(branches, dim=1)))
