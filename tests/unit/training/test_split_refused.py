"""Networks that cannot be cut at their taps: none is cut wrongly, each keeps its hooks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mstedge.training.models.split import split_at_taps


class Tapped(nn.Module):
    """A tap and something that cannot be had."""

    def __init__(self) -> None:
        super().__init__()
        self.tap, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.last(self.between(self.tap(values), values))

    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        raise NotImplementedError


class BranchOnValues(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return tapped if values.sum() > 0 else -tapped


class BranchOnRows(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return tapped if len(values) > 100 else -tapped


class BakedRows(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return tapped if isinstance(values, Tensor) else tapped.reshape(2, 4)


class QuietlyBakedRows(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return tapped if isinstance(values, Tensor) else tapped[:2]


class TwiceTapped(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return self.tap(tapped) + values


class TappedForNothing(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return values if tapped is not None else tapped


class OtherInATrace(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return tapped * (1.0 if isinstance(values, Tensor) else 2.0)


class MadeOnTheWay(Tapped):
    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return tapped * torch.arange(4) + values


class CrossesWithTwo(Tapped):
    width = 2

    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return (tapped.unsqueeze(2) * values.sum(dim=0)[: self.width]).sum(dim=2)


class CrossesWithThree(CrossesWithTwo):
    width = 3


class Pair(nn.Module):
    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return values.sin(), values.cos()


class Total(nn.Module):
    def forward(self, values: Tensor, others: tuple[Tensor, Tensor]) -> Tensor:
        return values + others[0] + others[1]


class CrossesInPairs(Tapped):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.total = Pair(), Total()

    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return self.total(tapped, self.pair(values))


class ReluInPlace(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return torch.relu_(values)


class ChangedUnseen(Tapped):
    def __init__(self) -> None:
        super().__init__()
        self.change = ReluInPlace()

    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return self.change(tapped) + values


class TappedUnseen(Tapped):
    def __init__(self) -> None:
        super().__init__()
        self.change = Calls(self.tap)

    def between(self, tapped: Tensor, values: Tensor) -> Tensor:
        return tapped + self.change(values)


class Calls(nn.Module):
    """Calls a module that it does not hold."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.modules_elsewhere = [module]

    def forward(self, values: Tensor) -> Tensor:
        return self.modules_elsewhere[0](values)


class SeveralAnswers(Tapped):
    def forward(self, values: Tensor) -> Tensor:
        return self.last(self.tap(values)), values  # type: ignore[return-value]


class TapOfSeveral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tap, self.last = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.last(self.tap(values.unsqueeze(1))[0].squeeze(1))


@pytest.mark.parametrize(
    "make",
    [
        BranchOnValues,
        BranchOnRows,
        BakedRows,
        QuietlyBakedRows,
        TwiceTapped,
        TappedForNothing,
        OtherInATrace,
        MadeOnTheWay,
        CrossesWithTwo,
        CrossesWithThree,
        CrossesInPairs,
        ChangedUnseen,
        TappedUnseen,
        SeveralAnswers,
        TapOfSeveral,
    ],
)
def test_what_cannot_be_cut_is_not(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = make().train()
    before = set(vars(network))
    assert split_at_taps(network, ("tap",), [torch.zeros(2, 4)]) is None
    assert network.training
    assert set(vars(network)) == before


def test_taps_that_are_no_steps_of_the_forward_pass_are_not_cut_at() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    assert split_at_taps(network, ("absent",), [torch.zeros(2, 4)]) is None
    assert split_at_taps(network, ("1.linear1",), [torch.zeros(2, 4)]) is None
    assert (
        split_at_taps(nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.ReLU()), ("0.0", "0"), [torch.zeros(2, 4)])
        is None
    )
