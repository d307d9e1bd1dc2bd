"""The routers: from the student's logits to a probability per specialised teacher (paper, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GateNet(nn.Module):
    """Two linear layers without a non-linearity between them, as published.

    Args:
        classes: Number of student logits.
        teachers: K, the number of specialised teachers.
    """

    def __init__(self, classes: int, teachers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(classes, 2 * classes), nn.Linear(2 * classes, teachers))

    def forward(self, student_logits: Tensor) -> Tensor:
        """Give routing probabilities [rows, K] for logits [rows, classes]; the logits are not detached."""
        return torch.softmax(self.layers(student_logits), dim=1)


class MapGateNet(nn.Module):
    """The router for logits of every pixel.

    A pointwise convolution to 2 * classes channels, ReLU, a depthwise 3x3 convolution of stride 2, ReLU, the mean over
    places and a linear layer: what the reference implementation has for NYU-Depth-V2. Unlike `GateNet` it needs its
    non-linearities: without them the mean over places would leave little of a map but its mean logits.

    Args:
        classes: Number of student logits per pixel.
        teachers: K, the number of specialised teachers.
    """

    def __init__(self, classes: int, teachers: int) -> None:
        super().__init__()
        width = 2 * classes
        self.convolutions = nn.Sequential(
            nn.Conv2d(classes, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width),
            nn.ReLU(),
        )
        self.score = nn.Linear(width, teachers)

    def forward(self, student_logits: Tensor) -> Tensor:
        """Give routing probabilities [rows, K] for logits [rows, classes, height, width], which are not detached."""
        features = self.convolutions(student_logits).mean(dim=(2, 3))
        return torch.softmax(self.score(features), dim=1)
