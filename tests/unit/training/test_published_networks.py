"""The networks of the published configurations: sizes and costs of the table, taps, gradients, graphs.

`PARAMETERS` and `MEGAFLOPS` were counted on the classes of the reference implementation at commit 093b2fe
(github.com/Gray-OREO/MST-Distill); `TABLE` and `MASK_NETS` are the rounded figures of an analysis of its cost.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mstedge.errors import ConfigError
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.manifest import Tensor as TensorInfo
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.training.method.masknet import MaskNet
from mstedge.training.models.registry import build_network, parameter_count
from mstedge.training.models.taps import output_passed_through, tap_shape, tapped_module

Shapes = tuple[tuple[int, ...], ...]
PUBLISHED: dict[str, tuple[Shapes, int]] = {
    "avmnist-fusion": (((1, 28, 28), (1, 112, 112)), 10),
    "lenet5": (((1, 28, 28),), 10),
    "three-layer-cnn": (((1, 112, 112),), 10),
    "ravdess-fusion": (((15, 3, 224, 224), (15, 156)), 8),
    "ravdess-visual": (((15, 3, 224, 224),), 8),
    "ravdess-audio": (((15, 156),), 8),
    "vggsound-fusion": (((10, 7, 7, 512), (10, 128)), 141),
    "vggsound-visual": (((10, 7, 7, 512),), 141),
    "vggsound-audio": (((10, 128),), 141),
    "crisismmd-fusion": (((2048,), (768,)), 8),
    "crisismmd-image": (((2048,),), 8),
    "crisismmd-text": (((768,),), 8),
}
SMALL: dict[str, Shapes] = {
    "avmnist-fusion": ((1, 28, 33), (2, 16, 19)),
    "lenet5": ((3, 32, 33),),
    "three-layer-cnn": ((2, 17, 8),),
    "ravdess-fusion": ((9, 3, 17, 8), (4, 55)),
    "ravdess-visual": ((9, 3, 17, 8),),
    "ravdess-audio": ((4, 55),),
    "vggsound-fusion": ((5, 4, 8, 6), (5, 27)),
    "vggsound-visual": ((5, 4, 8, 6),),
    "vggsound-audio": ((5, 60),),
    "crisismmd-fusion": ((9,), (6,)),
    "crisismmd-image": ((9,),),
    "crisismmd-text": ((6,),),
}
TWINS = {"vggsound-audio", "crisismmd-text"}  # made of the same parts as ravdess-audio and crisismmd-image
STUDENTS = [
    pytest.param(name, marks=pytest.mark.slow) if name in TWINS else name
    for name in PUBLISHED
    if not name.endswith("-fusion")
]
PARAMETERS = {
    "avmnist-fusion": 1_809_752,
    "lenet5": 61_706,
    "three-layer-cnn": 343_562,
    "ravdess-fusion": 6_607_300,
    "ravdess-visual": 6_084_420,
    "ravdess-audio": 575_848,
    "vggsound-fusion": 4_851_965,
    "vggsound-visual": 4_761_549,
    "vggsound-audio": 164_797,
    "crisismmd-fusion": 4_593_416,
    "crisismmd-image": 2_627_080,
    "crisismmd-text": 1_316_360,
}
MEGAFLOPS = {  # a multiply-add is two
    "avmnist-fusion": 470.840,
    "lenet5": 0.833,
    "three-layer-cnn": 238.938,
    "ravdess-fusion": 1237.313,
    "ravdess-visual": 1231.424,
    "ravdess-audio": 5.994,
    "vggsound-fusion": 3549.493,
    "vggsound-visual": 3548.906,
    "vggsound-audio": 0.735,
    "crisismmd-fusion": 9.179,
    "crisismmd-image": 5.251,
    "crisismmd-text": 2.630,
}
TABLE = {  # parameters in M, forward MFLOP per sample
    "avmnist-fusion": ("1.81", "471"),
    "three-layer-cnn": ("0.34", "239"),
    "lenet5": ("0.06", "0.8"),
    "ravdess-fusion": ("6.6", "1237"),
    "ravdess-audio": ("0.58", "6"),
    "ravdess-visual": ("6.1", "1231"),
    "vggsound-fusion": ("4.9", "3549"),
    "vggsound-audio": ("0.17", "0.7"),
    "vggsound-visual": ("4.8", "3549"),
    "crisismmd-fusion": ("4.6", "9.2"),
    "crisismmd-text": ("1.3", "2.6"),
    "crisismmd-image": ("2.6", "5.3"),
}
TAPS: dict[str, dict[str, tuple[int, ...]]] = {
    "avmnist-fusion": {"fused": (596,), "fc1": (298,)},
    "lenet5": {"conv3": (120, 1, 1), "fc1": (84,)},
    "three-layer-cnn": {"conv2": (64, 56, 56), "conv3": (128, 28, 28)},
    "ravdess-fusion": {"fused": (20096,), "fc1": (320,), "fc2": (160,)},
    "ravdess-visual": {"fc1": (320,), "fc2": (160,)},
    "ravdess-audio": {"fc1": (320,), "fc2": (160,)},
    "vggsound-fusion": {"fused": (384,), "fc1": (320,), "fc2": (160,)},
    "vggsound-visual": {"fc1": (320,), "fc2": (160,)},
    "vggsound-audio": {"fc1": (320,), "fc2": (160,)},
    "crisismmd-fusion": {"fused": (1024,), "fc1": (512,), "fc2": (256,)},
    "crisismmd-image": {"fc1": (1024,), "fc2": (512,)},
    "crisismmd-text": {"fc1": (1024,), "fc2": (512,)},
}
MASK_NETS = [  # parameters in M, factor 2
    ("avmnist-fusion", "fused", "106"),
    ("avmnist-fusion", "fc1", "13.2"),
    ("three-layer-cnn", "conv2", "0.13"),
    ("three-layer-cnn", "conv3", "1.07"),
    ("ravdess-fusion", "fc1", "16.4"),
    ("ravdess-fusion", "fc2", "2.0"),
    ("ravdess-audio", "fc1", "16.4"),
    ("ravdess-audio", "fc2", "2.0"),
    ("vggsound-fusion", "fc1", "16.4"),
    ("vggsound-fusion", "fc2", "2.0"),
    ("vggsound-audio", "fc1", "16.4"),
    ("vggsound-audio", "fc2", "2.0"),
    ("crisismmd-fusion", "fc1", "67"),
    ("crisismmd-fusion", "fc2", "8.4"),
    ("crisismmd-text", "fc1", "536"),
    ("crisismmd-text", "fc2", "67"),
]


def published(name: str) -> tuple[nn.Module, list[Tensor]]:
    """Make a network at its published size, and one row, without memory."""
    shapes, classes = PUBLISHED[name]
    with torch.device("meta"):
        network = build_network(name, shapes, classes, {}).eval()
        return network, [torch.empty(1, *shape) for shape in shapes]


def small(name: str, rows: int) -> tuple[nn.Module, list[Tensor]]:
    """Make a small one with BatchNorm statistics that matter, and inputs."""
    torch.manual_seed(3)
    network = build_network(name, SMALL[name], 5, {})
    with torch.no_grad():
        network.train()(*(2 * torch.randn(8, *shape) + 1 for shape in SMALL[name]))
    return network.eval(), [torch.randn(rows, *shape) for shape in SMALL[name]]


def agrees(found: float, written: str, share: float) -> bool:
    """Compare with a figure of the table, allowing for the digits that it is rounded to."""
    half_digit = 0.5 * 10.0 ** -len(written.partition(".")[2])
    return abs(found - float(written)) <= max(share * float(written), half_digit)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_reference_and_of_the_table(name: str) -> None:
    network, _ = published(name)
    assert parameter_count(network) == PARAMETERS[name]
    # The table says 0.17 for VGGSound's audio: 0.16480 M without BatchNorm's statistics, 0.16502 M with them.
    stored = sum(value.numel() for value in network.state_dict().values())
    assert agrees(stored / 1e6, TABLE[name][0], 0.02)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_forward_pass_costs_what_the_reference_and_the_table_say(name: str) -> None:
    network, row = published(name)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = network(*row)
    assert logits.shape == (1, PUBLISHED[name][1])
    megaflops = counter.get_total_flops() / 1e6
    assert megaflops == pytest.approx(MEGAFLOPS[name], abs=6e-4)
    assert agrees(megaflops, TABLE[name][1], 0.05)


@pytest.mark.parametrize("name", PUBLISHED)
def test_taps_have_the_published_shapes(name: str) -> None:
    network, row = published(name)
    assert {tap: tap_shape(network, tap, row, owner=name) for tap in TAPS[name]} == TAPS[name]


@pytest.mark.parametrize(("name", "tap", "written"), MASK_NETS)
def test_mask_nets_at_the_published_taps_are_as_large_as_the_table_says(name: str, tap: str, written: str) -> None:
    with torch.device("meta"):
        mask_net = MaskNet(TAPS[name][tap], heads=3, hidden_dim_factor=2)
    assert agrees(parameter_count(mask_net) / 1e6, written, 0.02)


@pytest.mark.parametrize("name", PUBLISHED)
def test_other_sizes_work_and_the_gradient_reaches_every_parameter(name: str) -> None:
    network, values = small(name, 4)
    logits = network(*values)
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    without = [path for path, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_layers_are_tapped_before_their_activation_and_matter(name: str) -> None:
    network, values = small(name, 4)
    seen: list[Tensor] = []

    def nothing(output: Tensor) -> Tensor:
        seen.append(output)
        return torch.zeros_like(output)

    with torch.no_grad():
        logits = network(*values)
        for tap in TAPS[name]:
            with output_passed_through(tapped_module(network, tap, owner=name), nothing):
                assert (network(*values) - logits).abs().max() > 1e-3
            assert (seen[-1].min() < 0) == (tap != "fused")


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_answers_in_onnx_as_in_torch(name: str) -> None:
    (shape,) = SMALL[name]
    network, (values,) = small(name, 7)
    model = onnx_from_network(network, shape, input_name="sense")
    session = backend_named("onnxruntime").load(
        Network(model, TensorInfo(name="sense", shape=shape), TensorInfo(name="logits", shape=(5,)), "fp32"),
        EngineOptions(threads=1),
    )
    with torch.no_grad():
        expected = network(values).numpy()
    for batch in (1, 7):
        np.testing.assert_allclose(session.run(values[:batch].numpy()), expected[:batch], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shapes", "says"),
    [
        ("lenet5", [(1, 27, 28)], r"an image \[channels, height >= 28, width >= 28\], not \[\(1, 27, 28\)\]"),
        ("three-layer-cnn", [(112, 112)], r"a spectrogram \[channels, height >= 8, width >= 8\]"),
        ("avmnist-fusion", [(1, 28, 28), (1, 112, 15)], r"and a spectrogram \[channels, height >= 16, width >= 16\]"),
        ("avmnist-fusion", [(1, 28, 28)], "an image .* and a spectrogram .* not"),
        ("ravdess-visual", [(7, 3, 8, 8)], r"video \[frames >= 8, channels, height >= 8, width >= 8\]"),
        ("ravdess-audio", [(15, 26)], r"sound \[coefficients, frames >= 27\]"),
        ("ravdess-fusion", [(15, 156), (15, 3, 224, 224)], r"video .* and sound .*, not \[\(15, 156\), \("),
        ("vggsound-visual", [(10, 3, 4, 512)], r"\[seconds >= 4, height >= 4, width >= 4, channels\]"),
        ("vggsound-audio", [(10, 26)], r"\[seconds, features >= 27\]"),
        ("vggsound-fusion", [(10, 7, 7, 512)], "video features .* and audio features"),
        ("crisismmd-image", [(3, 4)], r"image features \[width\], not \[\(3, 4\)\]"),
        ("crisismmd-text", [(8,), (8,)], r"text features \[width\], not"),
        ("crisismmd-fusion", [(8,)], r"image features \[width\] and text features \[width\]"),
    ],
)
def test_what_a_network_cannot_take_is_said(name: str, shapes: list[tuple[int, ...]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_network(name, shapes, 4, {})


SMALLEST: dict[str, Shapes] = {
    "avmnist-fusion": ((1, 28, 28), (1, 16, 16)),
    "lenet5": ((1, 28, 28),),
    "three-layer-cnn": ((1, 8, 8),),
    "ravdess-fusion": ((8, 1, 8, 8), (1, 27)),
    "vggsound-fusion": ((4, 4, 4, 1), (1, 27)),
    "crisismmd-fusion": ((1,), (1,)),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_size_that_is_promised_works(name: str) -> None:
    network = build_network(name, SMALLEST[name], 3, {}).eval()
    with torch.no_grad():
        logits = network(*(torch.ones(2, *shape) for shape in SMALLEST[name]))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()
