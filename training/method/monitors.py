"""What stage 3 watches: whether routing collapses, and how far teachers and student agree."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLLAPSED_SHARE = 0.95
_PATIENCE_EPOCHS = 3


class CollapseWatch(nn.Module):
    """Counts epochs in which routing was always the same; a module, so that checkpoints carry the count.

    With k teachers for each row out of more than k, routing has collapsed where k of them together get more than 95 %
    of what is shared out: for k = 1, one teacher gets more than 95 % of the rows. Three such epochs in a row raise the
    alarm.
    """

    epochs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def alarm(self, shares: Mapping[str, float], top_k: int) -> dict[str, float]:
        """Take note of an epoch.

        Args:
            shares: What each teacher got, summing to 1.
            top_k: k.

        Returns:
            The teachers that got nearly everything with their shares, once it lasts; else nothing.
        """
        leading = sorted(shares, key=lambda name: -shares[name])[:top_k]
        collapsed = len(shares) > top_k and sum(shares[name] for name in leading) > _COLLAPSED_SHARE
        self.epochs.copy_(self.epochs + 1 if collapsed else torch.zeros_like(self.epochs))
        return {name: shares[name] for name in leading} if int(self.epochs) >= _PATIENCE_EPOCHS else {}


def agreement(answers: Mapping[str, Tensor]) -> dict[str, float]:
    """Give the share of answers that two networks have in common, for every pair, as `one|other`.

    Args:
        answers: Classes [rows, *places] per network.
    """
    return {f"{one}|{other}": share_of_equal(answers[one], answers[other]) for one, other in combinations(answers, 2)}


def share_of_equal(one: Tensor, other: Tensor) -> float:
    """Give the share of places with the same answer."""
    return float((one == other).sum()) / one.numel()
