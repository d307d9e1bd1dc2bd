"""GateNet, the router: from the student's logits to a probability per specialised teacher (paper, section 3.4)."""

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
