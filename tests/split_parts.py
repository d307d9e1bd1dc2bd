"""What tests of split networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from torch import Tensor, nn

from mstedge.training.models.split import SplitNetwork, split_at_taps
from mstedge.training.models.taps import output_passed_through

Change = Callable[[Tensor], Tensor]


def cut(network: nn.Module, taps: Sequence[str], inputs: Sequence[Tensor]) -> SplitNetwork:
    split = split_at_taps(network, taps, inputs)
    assert split is not None
    return split


def hooked(network: nn.Module, changes: dict[str, Change], inputs: Sequence[Tensor]) -> Tensor:
    with ExitStack() as hooks:
        for tap, change in changes.items():
            hooks.enter_context(output_passed_through(network.get_submodule(tap), change))
        return network(*inputs)
