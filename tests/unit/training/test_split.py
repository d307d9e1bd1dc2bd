"""Networks cut at their taps: the parts give what the whole gives with hooks, at the price of one prefix."""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from mstedge.training.method.masknet import MaskNet
from mstedge.training.models.dense import Segmenter
from mstedge.training.models.published.nyu import DENSE_NETWORKS
from mstedge.training.models.registry import NETWORKS, build_network
from mstedge.training.models.split import SplitNetwork, crossing_bytes, split_at_taps
from mstedge.training.models.taps import output_passed_through, tap_shape

Change = Callable[[Tensor], Tensor]
NARROW = {"channels": (6, 8, 12, 16, 16)}
CLASSES = 5


@dataclass(frozen=True)
class Case:
    """A network with taps, the published ones where there are any, and a small input."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    taps: tuple[str, ...]
    options: dict[str, object] = field(default_factory=dict)


CASES = [
    Case("attention", ((1, 9, 6),), ("hidden",)),
    Case("avmnist-fusion", ((1, 28, 33), (2, 16, 19)), ("fused", "fc1")),
    Case("bc-resnet", ((1, 20, 40),), ("stages.3", "stages.5.over_bands", "hidden")),
    Case("cnn", ((3, 16, 16),), ("trunk.3", "hidden")),
    Case("crisismmd-fusion", ((9,), (6,)), ("fc1", "fc2")),
    Case("crisismmd-image", ((9,),), ("fc1", "fc2")),
    Case("crisismmd-text", ((6,),), ("fc1", "fc2")),
    Case("ds-cnn", ((1, 20, 10),), ("trunk.6", "hidden")),
    Case("fusenet", ((3, 32, 64), (1, 32, 64)), ("fused", "decoder.block5"), NARROW),
    Case("fusenet", ((3, 32, 32), (1, 32, 32)), ("fused",), NARROW),
    Case("fusenet-depth", ((1, 32, 32),), ("encoder.block5", "decoder.block5"), NARROW),
    Case("fusenet-rgb", ((3, 64, 32),), ("encoder.block5", "decoder.block5"), NARROW),
    Case("fusion", ((1, 12, 8), (3, 16, 16)), ("fused", "hidden"), {"trunks": ("temporal", "cnn")}),
    Case("lenet5", ((3, 32, 33),), ("conv3", "fc1")),
    Case("mlp", ((5, 6),), ("hidden",)),
    Case("mobilenet-v3-small", ((3, 32, 32),), ("blocks", "hidden"), {"width": 0.25}),
    Case("ravdess-audio", ((4, 55),), ("fc1", "fc2")),
    Case("ravdess-fusion", ((9, 3, 17, 8), (4, 55)), ("fused", "fc1", "fc2")),
    Case("ravdess-visual", ((9, 3, 17, 8),), ("fc1", "fc2")),
    Case("segmenter", ((3, 16, 24),), ("hidden",)),
    Case("temporal", ((1, 20, 8),), ("hidden",)),
    Case("three-layer-cnn", ((2, 17, 8),), ("conv2", "conv3")),
    Case("vggsound-audio", ((5, 60),), ("fc1", "fc2")),
    Case("vggsound-fusion", ((5, 4, 8, 6), (5, 27)), ("fc1", "fc2")),
    Case("vggsound-visual", ((5, 4, 8, 6),), ("fc1", "fc2")),
    Case("volume", ((1, 8, 16, 16),), ("hidden",)),
]


def built(case: Case) -> nn.Module:
    """Make a network whose BatchNorm has seen something."""
    torch.manual_seed(2)
    makers = {**DENSE_NETWORKS, "segmenter": Segmenter}
    if case.name in makers:
        network = makers[case.name](case.shapes, CLASSES, **case.options)
    else:
        network = build_network(case.name, case.shapes, CLASSES, case.options)
    with torch.no_grad():
        network.train()(*rows_of(case, 4))
    return network.eval().requires_grad_(requires_grad=False)


def rows_of(case: Case, rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, *shape, generator=generator) for shape in case.shapes]


def cut(network: nn.Module, taps: Sequence[str], inputs: Sequence[Tensor]) -> SplitNetwork:
    split = split_at_taps(network, taps, inputs)
    assert split is not None
    return split


def mask_net(network: nn.Module, tap: str, inputs: Sequence[Tensor]) -> MaskNet:
    """Make the narrowest MaskNet at a tap."""
    shape = tap_shape(network, tap, inputs, owner="network")
    return MaskNet(shape, heads=1, hidden_dim_factor=shape[0])


def hooked(network: nn.Module, changes: dict[str, Change], inputs: Sequence[Tensor]) -> Tensor:
    with ExitStack() as hooks:
        for tap, change in changes.items():
            hooks.enter_context(output_passed_through(network.get_submodule(tap), change))
        return network(*inputs)


@contextmanager
def counted_calls(network: nn.Module) -> Iterator[Counter[str]]:
    """Count the calls of every module that holds no other."""
    calls: Counter[str] = Counter()
    single = [(name, module) for name, module in network.named_modules() if not any(module.children())]
    with ExitStack() as hooks:
        for name, module in single:
            handle = module.register_forward_hook(lambda *_, name=name: calls.update([name]))
            hooks.callback(handle.remove)
        yield calls


def test_every_built_in_network_is_cut_below() -> None:
    assert set(NETWORKS) | set(DENSE_NETWORKS) <= {case.name for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_and_gradients_of_a_masked_network_are_those_with_hooks(case: Case) -> None:
    network, inputs = built(case), rows_of(case, 4)
    split = cut(network, case.taps, rows_of(case, 1))
    prefix = split.prefix(*inputs)
    assert list(prefix) == list(split.taps) == list(case.taps)
    for tap in case.taps:
        mask = mask_net(network, tap, inputs)
        same = copy.deepcopy(mask)
        expected, found = hooked(network, {tap: same}, inputs), split.finish(tap, prefix[tap], mask)
        assert torch.equal(found, expected)
        assert not torch.equal(found, split.finish(tap, prefix[tap], None))
        expected.square().sum().backward()
        found.square().sum().backward()
        pairs = list(zip(mask.parameters(), same.parameters(), strict=True))
        assert all(torch.equal(one.grad, other.grad) for one, other in pairs)
        assert any(one.grad.any() for one, _ in pairs)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(split.finish(tap, prefix[tap], None), network(*inputs)) for tap in case.taps)


@pytest.mark.parametrize("name", ["fusenet", "fusion", "bc-resnet", "ravdess-fusion"])
def test_no_module_runs_twice_and_none_that_is_not_needed(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    network, inputs = built(case), rows_of(case, 2)
    split = cut(network, case.taps, inputs)
    with counted_calls(network) as whole, torch.no_grad():
        network(*inputs)
    with counted_calls(network) as shared:
        prefix = split.prefix(*inputs)
    for position, tap in enumerate(case.taps):
        with counted_calls(network) as alone, torch.no_grad():
            split.finish(tap, prefix[tap], None)
        later = {each for each in case.taps[position + 1 :] if each in whole}
        assert tap not in alone
        assert later <= set(alone)
        if position == len(case.taps) - 1:
            assert not set(alone) & set(shared)
            assert shared + alone == whole


def test_what_several_taps_need_is_one_object_and_counted_once() -> None:
    case = next(case for case in CASES if case.name == "fusenet")
    network, inputs = built(case), rows_of(case, 3)
    split = cut(network, case.taps, inputs)
    fused, block = split.prefix(*inputs).values()
    assert all(any(each is other for other in fused) for each in block[1:])
    assert len({id(each) for each in fused}) == len(fused) == 1 + 3 * 5
    assert len(block) == 1 + 3 * 4
    sides = [32 * 64 // 4**level for level in range(1, 6)]
    places = sum(3 * channels * side for channels, side in zip(NARROW["channels"], sides, strict=True))
    fused_bytes, block_bytes = 4 * 16 * sides[4], 4 * 16 * sides[3]
    assert crossing_bytes(split, inputs) == fused_bytes + block_bytes + places


def test_what_nothing_needs_any_more_is_let_go() -> None:
    network, values = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6))), torch.randn(3, 4)
    split = cut(network, ("2",), [values])
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def look(_module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        outputs.append(weakref.ref(output))
        alive.append(sum(each() is not None for each in outputs))

    for module in network:
        module.register_forward_hook(look)
    crossings = split.prefix(values)["2"]
    with torch.no_grad():
        split.finish("2", crossings, None)
    assert alive == [1, 2, 2, 2, 3, 3]  # what goes in and what comes out, and from the tap on the crossing


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


def test_kept_crossings_can_be_indexed_by_row() -> None:
    case = next(case for case in CASES if case.name == "segmenter")
    network, inputs, chosen = built(case), rows_of(case, 6), torch.tensor([4, 0, 1])
    split = cut(network, case.taps, inputs)
    kept = [each[chosen] for each in split.prefix(*inputs)["hidden"]]
    torch.testing.assert_close(
        split.finish("hidden", kept, torch.tanh),
        hooked(network, {"hidden": torch.tanh}, [each[chosen] for each in inputs]),
    )


def test_masks_of_later_taps_act_as_well() -> None:
    case = next(case for case in CASES if case.name == "avmnist-fusion")
    network, inputs = built(case), rows_of(case, 3)
    split = cut(network, case.taps, inputs)
    first, second = (mask_net(network, tap, inputs) for tap in case.taps)
    crossings = split.prefix(*inputs)["fused"]
    with output_passed_through(network.get_submodule("fc1"), second):
        found = split.finish("fused", crossings, first)
    assert torch.equal(found, hooked(network, {"fused": first, "fc1": second}, inputs))
    assert not torch.equal(found, split.finish("fused", crossings, first))


class Buffered(nn.Module):
    """Parameters and buffers of its own, below the tap and above it; a buffer that something is computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.tap, self.last = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("mean", torch.linspace(0, 1, 4))
        self.register_buffer("shift", torch.linspace(0, 1, 3))

    def forward(self, values: Tensor) -> Tensor:
        values = self.tap(self.first(values - self.mean) * (1 + self.scale))
        return self.last(torch.relu(values) * self.scale) + 2 * self.shift + self.mean.sum()


def test_whatever_changes_in_the_network_later_counts() -> None:
    network, other = Buffered(), Buffered().double()
    split = cut(network, ("tap",), [torch.zeros(2, 4)])
    network.eval().double()  # makes new buffers
    for each in [*other.parameters(), *(each for each in other.buffers() if each.is_floating_point())]:
        each.data = each.data + torch.rand_like(each.data)
    values = torch.randn(5, 4, dtype=torch.float64)
    before = network(values)
    for assign in (False, True):
        network.load_state_dict(other.state_dict(), assign=assign)
        crossings = split.prefix(values)["tap"]
        assert torch.equal(split.finish("tap", crossings, torch.sin), hooked(network, {"tap": torch.sin}, [values]))
        assert torch.equal(split.finish("tap", crossings, None), other.eval()(values))
        assert not torch.allclose(before, other(values))
        other.shift += 1


def test_nothing_is_left_behind_in_the_network_or_in_the_random_state() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Dropout(), nn.Linear(4, 2))).train()
    network[1].eval()
    state, random, modes = copy.deepcopy(network.state_dict()), torch.get_rng_state(), [*map(mode, network.modules())]
    split = cut(network, ("0", "2.1"), [torch.zeros(2, 3)])
    assert crossing_bytes(split, [torch.ones(7, 3)]) == 4 * (4 + 2)
    assert torch.equal(torch.get_rng_state(), random)
    assert [*map(mode, network.modules())] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def mode(module: nn.Module) -> bool:
    return module.training


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
