"""Adam as this machine runs it fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


def make_adam(
    parameters: Iterable[torch.nn.Parameter], learning_rate: float, *, fused: bool | None
) -> torch.optim.Adam:
    """Make Adam (placeholder until measured)."""
    return torch.optim.Adam(parameters, lr=learning_rate, fused=fused)
