"""Adam in one kernel, and with gradients in factors, takes the steps of torch's plain Adam, also after a resume."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from oracle_runs import check
from tiny_training import tiny_dataset, tiny_recipe
from torch import nn

from mstedge.recipe_stages import Engine
from mstedge.training import adam as adam_module
from mstedge.training.adam import FactoredAdam, FactoredLinear, factored_layers, make_adam
from mstedge.training.checkpoint import Cursor, load_optimisers, optimiser_tensors, read_checkpoint, write_checkpoint
from mstedge.training.engine import make_engine
from mstedge.training.method import masknet
from mstedge.training.method.masknet import MaskNet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS = 12


def network() -> nn.Sequential:
    """Make a network in float64 with a factored layer in its middle, so that gradients pass through it."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), FactoredLinear(7, 11), nn.Tanh(), nn.Linear(11, 3)).double()


def learn(net: nn.Sequential, optimiser: torch.optim.Optimizer, steps: range, passes: int = 1) -> None:
    """Take steps on batches that depend on the step alone, each after so many backward passes."""
    for step in steps:
        optimiser.zero_grad()
        for number in range(passes):
            rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(10 * step + number), dtype=torch.float64)
            net(rows).square().sum().backward()
        optimiser.step()


def plainly(net: nn.Sequential) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), lr=0.01, foreach=False)


def fused(net: nn.Sequential) -> torch.optim.Adam:
    return make_adam(net.parameters(), 0.01, fused=None)


def factored(net: nn.Sequential) -> torch.optim.Adam:
    return make_adam(net.parameters(), 0.01, fused=None, layers=[net[2]])


def factored_in_a_loop(net: nn.Sequential) -> torch.optim.Adam:
    return make_adam(net.parameters(), 0.01, fused=False, layers=[net[2]])


EVERY_WAY = pytest.mark.parametrize("make", [fused, factored, factored_in_a_loop])


@EVERY_WAY
@pytest.mark.parametrize("passes", [1, 2])
def test_steps_are_those_of_the_plain_adam(
    make: Callable[[nn.Sequential], torch.optim.Adam], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adam_module, "_GRADIENT_BYTES", 4 * 7 * 8)  # 11 rows in pieces of 4, 4 and 3
    plain, other = network(), network()
    learn(plain, plainly(plain), range(STEPS), passes)
    learn(other, make(other), range(STEPS), passes)
    before = network()
    for one, two, start in zip(plain.parameters(), other.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-14)
        assert (one - start).abs().max() > 1e-2


@EVERY_WAY
def test_an_interrupted_run_goes_on_bit_for_bit(
    make: Callable[[nn.Sequential], torch.optim.Adam], tmp_path: Path
) -> None:
    whole = network()
    learn(whole, make(whole), range(STEPS))
    first = network()
    optimiser = make(first)
    learn(first, optimiser, range(5))
    cursor = Cursor(phase=0, epochs_done=1, best=None, metric_rows=0, seconds={})
    write_checkpoint(tmp_path / "checkpoint", cursor, optimiser_tensors((optimiser,)))
    second = copy.deepcopy(first)
    resumed = make(second)
    load_optimisers((resumed,), read_checkpoint(tmp_path / "checkpoint").below("optimisers"))
    learn(second, resumed, range(5, STEPS))
    for one, two in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("before", "after"), [(plainly, factored), (factored, plainly)])
def test_states_are_those_of_the_plain_adam(
    before: Callable[[nn.Sequential], torch.optim.Adam], after: Callable[[nn.Sequential], torch.optim.Adam]
) -> None:
    plain, changed = network(), network()
    learn(plain, plainly(plain), range(STEPS))
    optimiser = before(changed)
    learn(changed, optimiser, range(5))
    copied = network()
    copied.load_state_dict(changed.state_dict())
    other = after(copied)
    load_optimisers(
        (other,), {name.removeprefix("optimisers/"): value for name, value in optimiser_tensors((optimiser,)).items()}
    )
    learn(copied, other, range(5, STEPS))
    for one, two in zip(plain.parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-14)


def test_a_step_needs_a_gradient() -> None:
    net = network()
    optimiser = factored(net)
    learn(net, optimiser, range(1))
    assert net[2].weight.grad is None
    before = net[2].weight.clone()
    optimiser.step()
    assert torch.equal(net[2].weight, before)
    net(torch.ones(2, 6, dtype=torch.float64)).sum().backward()
    optimiser.zero_grad()
    optimiser.step()
    assert torch.equal(net[2].weight, before)


def test_frozen_layers_and_autocast_leave_nothing_in_factors() -> None:
    net = network()
    factored(net)
    rows = torch.ones(2, 6, dtype=torch.float64)
    with torch.no_grad():
        net(rows)
    net[2].requires_grad_(requires_grad=False)
    net(rows).sum().backward()
    net.float()[2].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(rows.float()).sum().backward()
    assert net[2].factors == []
    assert net[2].weight.grad is not None


def test_an_inner_factored_layer_passes_the_gradient_on() -> None:
    net, plain = network(), network()
    factored(net)
    features = [torch.linspace(-1, 1, 12, dtype=torch.float64).view(2, 6).requires_grad_() for _ in range(2)]
    net(features[0]).sum().backward()
    plain(features[1]).sum().backward()
    torch.testing.assert_close(features[0].grad, features[1].grad, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(net[2].bias.grad, plain[2].bias.grad, rtol=1e-13, atol=1e-13)


def test_fabric_passes_steps_states_and_forgetting_on() -> None:
    plain, wrapped = network(), network()
    learn(plain, plainly(plain), range(STEPS))
    engine = make_engine(Engine(device="cpu", threads=torch.get_num_threads()))
    optimiser = engine.fabric.setup_optimizers(factored(wrapped))
    learn(wrapped, optimiser, range(5), passes=2)
    wrapped.load_state_dict(network().state_dict())
    load_optimisers((optimiser,), {})
    learn(wrapped, optimiser, range(STEPS))
    for one, two in zip(plain.parameters(), wrapped.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-14)


def test_forgetting_between_the_ways_there_and_back_loses_nothing() -> None:
    # As `Engine.step` does it: the loss comes first, then old gradients are forgotten.
    found = []
    for make in (plainly, factored):
        net = network()
        optimiser = make(net)
        for step in range(STEPS):
            rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
            loss = net(rows).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found.append(list(net.parameters()))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("masks", ["isolated", "cumulative"])
def test_training_with_masks_collapsed_and_factored_equals_the_oracle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str
) -> None:
    monkeypatch.setattr(masknet, "_COLLAPSE_FROM_WIDTH", 0)
    monkeypatch.setattr(adam_module, "_FACTORED_FROM_BYTES", 0)
    stages = {"collaborative": {"epochs": 1}, "specialise": {"epochs": 2, "masks": masks}, "distill": {"epochs": 1}}
    recipe = tiny_recipe(stages=stages)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        check(recipe, tiny_dataset(recipe), tmp_path, monkeypatch)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)


def test_only_large_weights_are_factored() -> None:
    small, wide = MaskNet((64, 5, 5)), MaskNet((298,))
    assert factored_layers(small) == []
    assert factored_layers(wide) == [wide.project]
    with torch.device("meta"):
        assert factored_layers(MaskNet((596,))) == []
    assert type(make_adam(small.parameters(), 0.1, fused=None, layers=factored_layers(small))) is torch.optim.Adam


def test_a_mask_learns_as_with_the_plain_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masknet, "_COLLAPSE_FROM_WIDTH", 0)
    monkeypatch.setattr(adam_module, "_FACTORED_FROM_BYTES", 0)
    monkeypatch.setattr(adam_module, "_GRADIENT_BYTES", 100 * 50 * 8)
    torch.manual_seed(0)
    one = MaskNet((50,)).double()
    other = copy.deepcopy(one)
    features = torch.randn(4, 50, dtype=torch.float64)
    layers = factored_layers(other)
    assert layers
    plain = torch.optim.Adam(one.parameters(), lr=1e-3)
    lean = make_adam(other.parameters(), 1e-3, fused=None, layers=layers)
    assert isinstance(lean, FactoredAdam)
    for _step in range(3):
        for mask_net, optimiser in ((one, plain), (other, lean)):
            optimiser.zero_grad()
            (mask_net(features) - features).square().sum().backward()
            optimiser.step()
    for each, again in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(again, each, rtol=1e-9, atol=1e-12)


def test_fused_can_be_refused() -> None:
    parameters = [nn.Parameter(torch.zeros(3))]
    assert make_adam(parameters, 0.1, fused=None).param_groups[0]["fused"] is True
    assert make_adam(parameters, 0.1, fused=False).param_groups[0]["fused"] is False
