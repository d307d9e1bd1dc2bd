"""Made-up networks cut at their taps: what forward passes of others do, and drawn ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from split_parts import cut, hooked
from torch import Tensor, nn
from torch.nn import functional


class NotToBeFollowed(nn.Module):
    """Holds a module, and asks what only a tensor can answer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Tensor:
        return self.inner(values) if values.sum() > 0 else -self.inner(values)


def test_modules_that_cannot_be_followed_are_left_whole_beside_a_tap() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(NotToBeFollowed(), nn.Linear(4, 4), nn.ReLU())
    network, values = nn.Sequential(inner, NotToBeFollowed(), nn.Linear(4, 2)), torch.randn(5, 4)
    split = cut(network, ("0.1",), [values])
    for sign in (-1, 1):
        crossings = split.prefix(sign * values)["0.1"]
        expected = hooked(network, {"0.1": torch.sin}, [sign * values])
        assert torch.equal(split.finish("0.1", crossings, torch.sin), expected)


class InPlace(nn.Module):
    """Changes the tap's output in place in four ways, and reads it again afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(4, 4) for _ in range(3))
        self.act = nn.ReLU(inplace=True)

    def forward(self, values: Tensor) -> Tensor:
        first = self.first(values)
        second = self.second(self.act(first)) + first
        functional.relu(second, inplace=True)
        third = self.third(second)
        third.mul_(2)
        third += first
        return torch.relu_(third) + second


def test_changes_in_place_reach_neither_crossings_nor_inputs() -> None:
    torch.manual_seed(0)
    network, values = InPlace(), torch.randn(5, 4)
    taps = ("first", "second", "third")
    split = cut(network, taps, [values])
    crossings = split.prefix(values)
    before = copy.deepcopy(crossings)
    for tap in taps:
        assert torch.equal(split.finish(tap, crossings[tap], None), network(values))
        assert torch.equal(split.finish(tap, crossings[tap], torch.sin), hooked(network, {tap: torch.sin}, [values]))
        assert all(torch.equal(one, other) for one, other in zip(crossings[tap], before[tap], strict=True))


class Sizes(nn.Module):
    """Reads sizes of its input, and uses them above the tap."""

    def __init__(self, *, all_sizes: bool) -> None:
        super().__init__()
        self.tap, self.last, self.all_sizes = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(32, 3), all_sizes

    def forward(self, values: Tensor) -> Tensor:
        rows, _, height, width = values.shape
        maps = torch.relu(self.tap(values))
        return self.last(maps.view(rows, 2 * height * width) if self.all_sizes else maps.view(values.size(0), -1))


@pytest.mark.parametrize("all_sizes", [False, True])
def test_the_number_of_rows_needs_no_crossing_but_other_sizes_bring_their_tensor(*, all_sizes: bool) -> None:
    network, values = Sizes(all_sizes=all_sizes), torch.randn(6, 1, 4, 4)
    split = cut(network, ("tap",), [values[:2]])
    crossings = split.prefix(values)["tap"]
    assert len(crossings) == (2 if all_sizes else 1)
    assert torch.equal(split.finish("tap", crossings, torch.sin), hooked(network, {"tap": torch.sin}, [values]))


class Words(nn.Module):
    """Takes integers; what is made of them crosses."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.tap, self.last = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        some = words > 0
        known = (some & (words < 8)).unsqueeze(-1)
        values = torch.relu(self.tap(self.table(words).mean(dim=1))).unsqueeze(1) * known
        return self.last(values.mean(dim=1)) + some.sum(dim=1, keepdim=True)


def test_integers_can_go_in_and_parameters_that_ask_for_gradients_above_the_tap_get_them() -> None:
    network, words = Words(), torch.tensor([[1, 0, 8], [0, 0, 3], [5, 6, 7]])
    split = cut(network, ("tap",), [words[:1]])
    crossings = split.prefix(words)["tap"]
    assert [each.dtype for each in crossings] == [torch.float32, torch.int64, torch.bool]
    logits = split.finish("tap", crossings, None)
    assert torch.equal(logits, network(words))
    logits.sum().backward()
    assert {name for name, each in network.named_parameters() if each.grad is not None} == {"last.weight", "last.bias"}


class Drawn(nn.Module):
    """A made-up network: each step works on the one before, and some add, join or scale an earlier one."""

    def __init__(self, steps: Sequence[tuple[str, int]]) -> None:
        super().__init__()
        width = 5
        self.steps = steps
        self.layers = nn.ModuleList(nn.Linear(width * (1 + (kind == "join")), width) for kind, _ in steps)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in steps)
        self.last = nn.Linear(width, 3)

    def forward(self, *inputs: Tensor) -> Tensor:
        values = list(inputs)
        for (kind, back), layer, norm in zip(self.steps, self.layers, self.norms, strict=True):
            other = values[back % len(values)]
            if kind == "join":
                values.append(layer(torch.cat([values[-1], other], dim=1)))
            elif kind == "add":
                values.append(functional.relu(norm(layer(values[-1]))) + other)
            elif kind == "scale":
                values.append(layer(values[-1]) * torch.sigmoid(other.mean(dim=1, keepdim=True)))
            else:
                values.append(functional.relu(layer(values[-1]), inplace=True))
        return self.last(values[-1])


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "add", "scale", "plain"]), st.integers(0, 9)), min_size=1, max_size=7
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 2), st.integers(1, 4), st.data())
def test_prefix_and_finish_are_the_whole(
    steps: list[tuple[str, int]], modalities: int, rows: int, data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(steps) - 1), min_size=1, max_size=3))
    torch.manual_seed(1)
    network = Drawn(steps).eval()
    inputs = [torch.randn(rows, 5) for _ in range(modalities)]
    taps = tuple(f"layers.{number}" for number in sorted(chosen))
    split = cut(network, taps, inputs)
    with torch.no_grad():
        prefix = split.prefix(*inputs)
        for tap in taps:
            assert torch.equal(split.finish(tap, prefix[tap], None), network(*inputs))
            assert torch.equal(split.finish(tap, prefix[tap], torch.sin), hooked(network, {tap: torch.sin}, inputs))
