"""Networks cut at their taps: the parts give what the whole gives with hooks, at the price of one prefix."""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from split_parts import cut, hooked
from torch import Tensor, nn

from mstedge.training.method.masknet import MaskNet
from mstedge.training.models.dense import Segmenter
from mstedge.training.models.published.nyu import DENSE_NETWORKS
from mstedge.training.models.registry import NETWORKS, build_network
from mstedge.training.models.split import crossing_bytes
from mstedge.training.models.taps import output_passed_through, tap_shape

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


def mask_net(network: nn.Module, tap: str, inputs: Sequence[Tensor]) -> MaskNet:
    """Make the narrowest MaskNet at a tap."""
    shape = tap_shape(network, tap, inputs, owner="network")
    return MaskNet(shape, heads=1, hidden_dim_factor=shape[0])


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
