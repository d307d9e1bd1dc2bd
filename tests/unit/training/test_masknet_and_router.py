"""MaskNet and GateNet: widths and counts of the paper's table, masks in (0, 1), taps that take them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mstedge.errors import ConfigError
from mstedge.training.method.masknet import MaskNet
from mstedge.training.method.router import GateNet, MapGateNet
from mstedge.training.models.networks import Cnn, Fusion, Mlp, TemporalCnn
from mstedge.training.models.registry import build_network, parameter_count
from mstedge.training.models.taps import output_passed_through, tap_shape, tapped_module


@pytest.mark.parametrize(
    ("shape", "millions"),
    [((596,), 106.0), ((298,), 13.2), ((64, 56, 56), 0.13), ((128, 28, 28), 1.07), ((512,), 67.0), ((256,), 8.4)],
)
def test_masknets_have_the_published_size(shape: tuple[int, ...], millions: float) -> None:
    with torch.device("meta"):
        assert parameter_count(MaskNet(shape)) / 1e6 == pytest.approx(
            millions, rel=0.03
        )  # the table gives two or three digits


def test_hidden_dim_factor_divides_the_hidden_width() -> None:
    assert MaskNet((48,), hidden_dim_factor=2).attention.embed_dim == 24
    assert MaskNet((48,), hidden_dim_factor=8).attention.embed_dim == 6


@pytest.mark.parametrize("shape", [(12,), (12, 5, 7)])
def test_a_mask_scales_each_feature_or_channel(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mask_net = MaskNet(shape).eval()
    features = torch.randn(3, *shape)
    mask = mask_net.mask(features)
    assert mask.shape == (3, 12)
    assert ((mask > 0) & (mask < 1)).all()
    expected = features * (mask if len(shape) == 1 else mask[:, :, None, None])
    torch.testing.assert_close(mask_net(features), expected, rtol=0, atol=0)


def test_too_narrow_a_tap_is_refused() -> None:
    with pytest.raises(ConfigError, match="width 4 is too narrow for 3 heads"):
        MaskNet((4,))


def test_router_gives_probabilities_and_passes_gradients_to_the_student() -> None:
    logits = torch.randn(5, 10, requires_grad=True)
    gate = GateNet(10, 3)(logits)
    assert gate.shape == (5, 3)
    torch.testing.assert_close(gate.sum(dim=1), torch.ones(5))
    gate[:, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("network", "inputs", "taps"),
    [
        (Cnn([(1, 20, 24)], 4), [(1, 20, 24)], {"hidden": (64,), "trunk.0": (16, 20, 24)}),
        (TemporalCnn([(1, 20, 24)], 4), [(1, 20, 24)], {"hidden": (64,)}),
        (Mlp([(3, 5)], 4), [(3, 5)], {"hidden": (64,)}),
        (Fusion([(1, 8, 8), (6,)], 4), [(1, 8, 8), (6,)], {"fused": (128,), "hidden": (64,)}),
    ],
)
def test_networks_have_the_taps_that_they_document(
    network: nn.Module, inputs: list[tuple[int, ...]], taps: dict[str, tuple[int, ...]]
) -> None:
    values = [torch.randn(2, *shape) for shape in inputs]
    assert network(*values).shape == (2, 4)
    for tap, shape in taps.items():
        assert tap_shape(network, tap, values, owner="it") == shape


def test_a_tap_that_is_replaced_changes_the_answer_only_inside_the_block() -> None:
    network = Mlp([(6,)], 3).eval()
    values = torch.randn(2, 6)
    before = network(values)
    with output_passed_through(tapped_module(network, "hidden", owner="it"), torch.zeros_like):
        inside = network(values)
    torch.testing.assert_close(inside, network.classifier.bias.expand(2, 3))
    torch.testing.assert_close(network(values), before, rtol=0, atol=0)


def test_an_unknown_tap_lists_those_near_it() -> None:
    with pytest.raises(ConfigError, match=r"teacher 'T' has no tap 'hiden'[\s\S]*did you mean 'hidden'"):
        tapped_module(Mlp([(6,)], 3), "hiden", owner="teacher 'T'")


def test_unknown_networks_options_and_inputs_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no network 'cn'[\s\S]*did you mean 'cnn'"):
        build_network("cn", [(1, 8, 8)], 2, {})
    with pytest.raises(ConfigError, match=r"'cnn' cannot be made with options .*'width': 3"):
        build_network("cnn", [(1, 8, 8)], 2, {"width": 3})
    with pytest.raises(ConfigError, match=r"'cnn' takes one modality with features \[channels, height, width\]"):
        build_network("cnn", [(8,)], 2, {})
    with pytest.raises(ConfigError, match="'mlp' takes one modality"):
        build_network("mlp", [(8,), (3,)], 2, {})


def test_router_of_maps_gives_probabilities_and_passes_gradients_to_the_student() -> None:
    torch.manual_seed(0)
    router = MapGateNet(41, 4)
    logits = torch.randn(3, 41, 12, 17, requires_grad=True)
    gate = router(logits)
    assert gate.shape == (3, 4)
    torch.testing.assert_close(gate.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(router(logits[1:2]), gate[1:2])
    gate[:, 0].sum().backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    assert parameter_count(router) == (41 * 82 + 82) + (9 * 82 + 82) + (82 * 4 + 4)


def test_router_of_maps_sees_more_than_the_mean_logits() -> None:
    torch.manual_seed(0)
    router = MapGateNet(3, 2)
    ones = torch.ones(1, 3, 16, 16)
    torn = ones.clone()
    torn[..., 8:] = -1.0
    torch.testing.assert_close(torn.mean(dim=(2, 3)), torch.zeros(1, 3))
    assert (router(torn) - router(torch.zeros_like(ones))).abs().max() > 1e-3


def test_router_of_maps_computes_what_it_documents() -> None:
    # All weights of the convolutions 1, no biases: each map is relu(sum), then relu of 3x3 sums at stride 2.
    router = MapGateNet(2, 2)
    with torch.no_grad():
        for parameter in router.convolutions.parameters():
            parameter.fill_(1.0 if parameter.ndim > 1 else 0.0)
        router.score.weight.copy_(torch.tensor([[1.0] * 4, [0.0] * 4]))
        router.score.bias.zero_()
    logits = torch.tensor([[[[0.2, -0.1], [0.4, 0.0]], [[-0.1, -0.1], [-0.1, 0.05]]]])
    # relu of the sums: 0.1, 0, 0.3, 0.05; one window covers all four: 0.45 in each of four channels.
    torch.testing.assert_close(router(logits), torch.softmax(torch.tensor([[1.8, 0.0]]), dim=1))


def test_a_map_of_a_single_place_is_masked_as_a_vector() -> None:
    torch.manual_seed(0)
    vector, single = MaskNet([12]), MaskNet([12, 1, 1])
    single.load_state_dict(vector.state_dict())
    features = torch.randn(5, 12)
    torch.testing.assert_close(single(features[:, :, None, None])[:, :, 0, 0], vector(features))
