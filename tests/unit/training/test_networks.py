"""Networks: what goes in and comes out, taps, and what each refuses."""

from __future__ import annotations

import pytest
import torch

from mstedge.errors import ConfigError
from mstedge.training.models.attention import AttentionNet, sinusoids
from mstedge.training.models.dense import Segmenter
from mstedge.training.models.registry import build_network
from mstedge.training.models.taps import tap_shape

SHAPES = {
    "attention": ((1, 9, 6), (9, 6)),
    "cnn": ((1, 9, 8), (3, 12, 16)),
    "temporal": ((1, 9, 6),),
    "mlp": ((5,), (2, 3, 4)),
    "volume": ((3, 8, 12, 16), (1, 2, 3, 9)),
}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_network_gives_logits_and_a_hidden_vector(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build_network(name, [shape], 4, {})
    values = torch.randn(3, *shape)
    logits = network(values)
    assert logits.shape == (3, 4)
    assert tap_shape(network, "hidden", [values], owner=name) == (64,)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_segmenter_gives_logits_for_every_pixel_and_a_hidden_map() -> None:
    torch.manual_seed(0)
    network = Segmenter([(3, 16, 24)], 5)
    values = torch.randn(2, 3, 16, 24)
    assert network(values).shape == (2, 5, 16, 24)
    assert tap_shape(network, "hidden", [values], owner="segmenter") == (48, 2, 3)


def test_attention_knows_the_order_of_steps_and_takes_any_number_of_them() -> None:
    torch.manual_seed(0)
    network = AttentionNet([(9, 6)], 4).eval()
    values = torch.randn(2, 9, 6)
    with torch.no_grad():
        assert not torch.allclose(network(values), network(values.flip(1)), atol=1e-4)
        assert network(torch.randn(2, 31, 6)).shape == (2, 4)
    assert "positions" not in " ".join(network.state_dict())


def test_positions_are_those_of_the_paper() -> None:
    table = sinusoids(50, 8)
    assert table[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert table[3, 1].item() == pytest.approx(0.2955202, abs=1e-6)  # sin(3 / 10000 ** (2 / 8))
    assert table[49, 7].item() == pytest.approx(0.9988, abs=1e-4)  # cos(49 / 10000 ** (6 / 8))


@pytest.mark.parametrize(
    ("name", "shape", "options", "says"),
    [
        ("attention", (2, 9, 6), {}, r"\[1, frames, bands\] or \[steps, features\], not \(2, 9, 6\)"),
        ("attention", (9, 6), {"width": 30, "heads": 4}, "width 30: expected an even multiple of 4 heads"),
        ("volume", (3, 16, 16), {}, r"features \[channels, frames, height, width\]"),
        ("cnn", (16, 16), {}, r"features \[channels, height, width\]"),
    ],
)
def test_what_a_network_cannot_take_is_said(
    name: str, shape: tuple[int, ...], options: dict[str, int], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        build_network(name, [shape], 4, options)


def test_the_segmenter_refuses_sides_that_cannot_be_halved() -> None:
    with pytest.raises(ConfigError, match="multiples of 8, not"):
        Segmenter([(3, 16, 20)], 5)
