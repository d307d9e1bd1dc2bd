"""FuseNet and its branches: the published size, the published answers, and graphs that every engine takes."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from mstedge.errors import ConfigError, UsageError
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.limits import LIMITS
from mstedge.manifest import Tensor as TensorInfo
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.parity.levels import number_checks
from mstedge.training.method.member_weights import load_weights
from mstedge.training.models.published.nyu import DENSE_NETWORKS
from mstedge.training.models.published.vgg16 import vgg16_encoder_weights
from mstedge.training.models.registry import parameter_count
from mstedge.training.models.taps import tap_shape

INPUTS = {"fusenet": (3, 1), "fusenet-rgb": (3,), "fusenet-depth": (1,)}
CLASSES = 41
FULL = (480, 640)
FIFTH = (96, 128)
NARROW = (6, 8, 12, 16, 16)
ENGINES = ("onnxruntime", "openvino")
# Converting takes seconds, and depth differs in one number.
BRANCHES = ("fusenet-rgb", pytest.param("fusenet-depth", marks=pytest.mark.slow))


def shapes_of(name: str, sides: tuple[int, int]) -> list[tuple[int, int, int]]:
    return [(inputs, *sides) for inputs in INPUTS[name]]


def rows_of(name: str, sides: tuple[int, int], count: int, *, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, *shape, generator=generator) for shape in shapes_of(name, sides)]


def lived_in(
    name: str, sides: tuple[int, int], channels: Sequence[int] = NARROW, *, classes: int = CLASSES, rows: int = 2
) -> nn.Module:
    """Make a network in evaluation mode whose BatchNorm knows the size of what it sees."""
    torch.manual_seed(4)
    network = DENSE_NETWORKS[name](shapes_of(name, sides), classes, channels=channels)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.2)
    with torch.no_grad():
        network.train()(*rows_of(name, sides, rows, seed=9))
    return network.eval()


@pytest.mark.parametrize(
    ("name", "millions", "megaflops"),
    [("fusenet", 44, 576e3), ("fusenet-rgb", 29, 389e3), ("fusenet-depth", 29, 389e3)],
)
def test_size_and_cost_are_those_of_the_published_configuration(name: str, millions: int, megaflops: float) -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = DENSE_NETWORKS[name](shapes_of(name, FULL), CLASSES).eval()
        logits = network(*(torch.empty(1, *shape) for shape in shapes_of(name, FULL)))
    assert logits.shape == (1, CLASSES, *FULL)
    assert parameter_count(network) / 1e6 == pytest.approx(millions, rel=0.02)
    # A multiplication and its addition are two operations, for the counter as for the table.
    assert counter.get_total_flops() / 1e6 == pytest.approx(megaflops, rel=0.01)


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("fusenet", {"fused": (512, 3, 4), "decoder.block5": (512, 6, 8)}),
        ("fusenet-rgb", {"encoder.block5": (512, 6, 8), "decoder.block5": (512, 6, 8)}),
        ("fusenet-depth", {"encoder.block5": (512, 6, 8), "decoder.block5": (512, 6, 8)}),
    ],
)
def test_taps_are_those_of_the_published_configuration(name: str, taps: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        network = DENSE_NETWORKS[name](shapes_of(name, FIFTH), CLASSES)
        values = [torch.empty(1, *shape) for shape in shapes_of(name, FIFTH)]
        assert {tap: tap_shape(network, tap, values, owner=name) for tap in taps} == taps


def plain_encoder(inputs: int) -> nn.ModuleList:
    one, two, three, four, five = NARROW
    sizes = ([inputs, one, one], [one, two, two], [two, *[three] * 3], [three, *[four] * 3], [four, *[five] * 3])
    return nn.ModuleList(plain_block(size) for size in sizes)


def plain_decoder() -> nn.ModuleList:
    one, two, three, four, five = NARROW
    sizes = ([five, five, five, four], [four, four, four, three], [three, three, three, two], [two, two, one])
    last = nn.Sequential(*plain_block([one, one]), nn.Conv2d(one, CLASSES, 3, padding=1))
    return nn.ModuleList([*(plain_block(size) for size in sizes), last])


def plain_block(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class IndexedTwin(nn.Module):
    """The description once more, as plain as can be, unpooling by torch's own indices; without dropout."""

    def __init__(self, inputs: Sequence[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(plain_encoder(each) for each in inputs)
        self.decoder = plain_decoder()

    def forward(self, *values: Tensor) -> Tensor:
        paths, kept = list(values), []
        for level in range(5):
            paths = [encode[level](path) for encode, path in zip(self.encoders, paths, strict=True)]
            paths[0] = torch.stack(paths).mean(dim=0)
            paths[0], indices = functional.max_pool2d(paths[0], 2, return_indices=True)
            paths[1:] = [functional.max_pool2d(path, 2) for path in paths[1:]]
            kept.append(indices)
        answer = paths[0]
        for level in range(5):
            answer = self.decoder[level](functional.max_unpool2d(answer, kept[4 - level], 2))
        return answer


@pytest.mark.parametrize("name", INPUTS)
def test_answers_and_gradients_are_those_of_unpooling_by_indices(name: str) -> None:
    network = lived_in(name, (64, 32)).double()
    twin = IndexedTwin(INPUTS[name]).double().eval()
    twin.load_state_dict(dict(zip(twin.state_dict(), network.state_dict().values(), strict=True)))
    found = []
    for each in (network, twin):
        values = [value.double().requires_grad_() for value in rows_of(name, (64, 32), 2)]
        logits = each(*values)
        logits.square().sum().backward()
        found.append([logits, *(value.grad for value in values), *(weight.grad for weight in each.parameters())])
    for ours, theirs in zip(*found, strict=True):
        assert theirs.abs().max() > 1e-4
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", INPUTS)
def test_dropout_follows_the_blocks_that_it_is_described_for(name: str) -> None:
    network = lived_in(name, (64, 32)).train()
    dropped: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.4
            module.register_forward_hook(lambda _module, inputs, _output: dropped.append(tuple(inputs[0].shape[1:])))
    network(*rows_of(name, (64, 32), 2))
    expected = [(12, 8, 4), (16, 4, 2), (16, 2, 1)]  # after pooling
    if name == "fusenet":
        expected += expected[:2]  # the depth path ends in the last fusion
    expected += [(16, 4, 2), (12, 8, 4), (8, 16, 8)]  # the decoder's
    assert Counter(dropped) == Counter(expected)


@pytest.mark.parametrize(
    ("name", "shapes", "options", "says"),
    [
        ("fusenet-rgb", [(3, 96, 100)], {}, r"multiples of 32, not \[96, 100\]"),
        ("fusenet-depth", [(1, 16, 32)], {}, r"'fusenet-depth' takes sides that are multiples of 32"),
        ("fusenet", [(3, 96, 100), (1, 96, 100)], {}, r"multiples of 32, not \[96, 100\]"),
        ("fusenet", [(1, 32, 32), (3, 32, 32)], {}, r"takes \[3, height, width\] and \[1, height, width\]"),
        ("fusenet", [(3, 32, 32), (1, 32, 64)], {}, "of one size, not"),
        ("fusenet", [(3, 32, 32)], {}, r"and \[1, height, width\]"),
        ("fusenet-rgb", [(1, 32, 32)], {}, r"'fusenet-rgb' takes features \[3, height, width\]"),
        ("fusenet-rgb", [(3, 32)], {}, r"one modality with features \[channels, height, width\]"),
        ("fusenet-rgb", [(3, 32, 32)], {"channels": (4, 8)}, r"channels of 5 blocks, not \[4, 8\]"),
    ],
)
def test_what_a_network_cannot_take_is_said(
    name: str, shapes: list[tuple[int, ...]], options: dict[str, tuple[int, ...]], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        DENSE_NETWORKS[name](shapes, 5, **options)


@cache
def graph_of(name: str) -> tuple[nn.Module, bytes]:
    network = lived_in(name, FIFTH)
    return network, onnx_from_network(network, shapes_of(name, FIFTH)[0], input_name="sense")


@pytest.mark.parametrize("name", BRANCHES)
def test_graphs_have_neither_indices_nor_scattering(name: str) -> None:
    graph = onnx.load_from_string(graph_of(name)[1]).graph
    pools = [node for node in graph.node if node.op_type == "MaxPool"]
    assert [len(node.output) for node in pools] == [1] * 5
    operators = {node.op_type for node in graph.node}
    assert not {"MaxUnpool", "ScatterND", "ScatterElements", "GatherElements", "NonZero"} & operators
    assert check_onnx(graph_of(name)[1]).outputs == {"logits": ("float32", ("batch", CLASSES, *FIFTH))}


def answers(graph: bytes, features: Tensor, engine: str) -> NDArray[np.float32]:
    source = TensorInfo(name="sense", shape=tuple(features.shape[1:]))
    sink = TensorInfo(name="logits", shape=(CLASSES, *features.shape[2:]))
    session = backend_named(engine).load(Network(graph, source, sink, "fp32"), EngineOptions(threads=1))
    return np.concatenate([session.run(row[None].numpy()) for row in features])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", BRANCHES)
def test_engines_answer_as_torch_does(name: str, engine: str) -> None:
    network, graph = graph_of(name)
    features = rows_of(name, FIFTH, 3)[0]
    with torch.no_grad():
        reference = network(features).numpy()
    checks = number_checks(reference, answers(graph, features, engine), LIMITS["fp32"])
    assert [check for check in checks if not check.passed] == []


def computed_exactly(network: nn.Module) -> nn.Module:
    """Give weights with which whole numbers stay whole numbers, and far below 2^24.

    A filter is one tap, the difference of two where a block begins, or a box where the decoder's blocks do.
    """
    torch.manual_seed(7)
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                first = name.endswith("conv1")
                for filter_ in module.weight.zero_():
                    if first and name.startswith("decoder"):
                        filter_[torch.randint(len(filter_), ())] = 1.0
                    else:
                        taps = torch.randint(filter_.numel(), (2 if first else 1,))
                        filter_.view(-1)[taps] = torch.tensor([1.0, -1.0])[: len(taps)]
                module.bias.copy_(torch.randint(-1, 3, module.bias.shape))
            elif isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    return network.eval()


@cache
def full_size() -> tuple[bytes, Tensor, NDArray[np.float32]]:
    """Give the graph at full size and width, one row, and torch's answer."""
    network = computed_exactly(DENSE_NETWORKS["fusenet-rgb"](shapes_of("fusenet-rgb", FULL), CLASSES))
    row = rows_of("fusenet-rgb", FULL, 1)[0].mul(20).round()
    with torch.no_grad():
        return onnx_from_network(network, (3, *FULL), input_name="sense"), row, network(row).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_answer_as_torch_does_at_full_size(engine: str) -> None:
    # With weights of any value, float32 rounds some of nine million windows to another place, in every engine and in
    # torch itself: its answer was found between 51 and 71 dB from its own float64. Whole numbers leave no such excuse.
    graph, row, reference = full_size()
    assert (reference == reference.round()).all()
    assert reference.std(axis=(0, 2, 3)).min() > 100  # a class that is the same everywhere would prove nothing
    np.testing.assert_array_equal(answers(graph, row, engine), reference)


def torchvision_names(*, with_norm: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Walk through torchvision's configuration "D": numbers are convolutions, "M" is pooling."""
    inputs, position = 3, 0
    for entry in (64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"):
        if isinstance(entry, str):
            position += 1
            continue
        yield from ((f"features.{position}.weight", (entry, inputs, 3, 3)), (f"features.{position}.bias", (entry,)))
        if with_norm:
            for key in ("weight", "bias", "running_mean", "running_var"):
                yield f"features.{position + 1}.{key}", (entry,)
        inputs, position = entry, position + (3 if with_norm else 2)


def written(path: Path, *, with_norm: bool = True, **changed: Tensor | None) -> Path:
    """Write a VGG-16 of made-up weights; `changed` replaces tensors or leaves them out (`_` stands for a dot)."""
    generator = torch.Generator().manual_seed(5)
    names = torchvision_names(with_norm=with_norm)
    tensors = {name: torch.rand(shape, generator=generator) - 0.5 for name, shape in names}
    for name in tensors:
        if name.endswith("running_var"):
            tensors[name] += 1.0
    tensors["classifier.6.bias"] = torch.zeros(1000)
    for name, value in changed.items():
        tensors.pop(name.replace("_", "."))
        if value is not None:
            tensors[name.replace("_", ".")] = value
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("with_norm", [True, False])
def test_imagenet_weights_go_where_they_belong(tmp_path: Path, *, with_norm: bool) -> None:
    path = written(tmp_path / "vgg16.safetensors", with_norm=with_norm)
    torch.manual_seed(0)
    network = DENSE_NETWORKS["fusenet"](shapes_of("fusenet", (32, 32)), 5)
    network.start_from_imagenet(path)
    image = torch.randn(1, 3, 32, 32)
    grey = image.mean(dim=1, keepdim=True)
    with torch.no_grad():
        for encoder, values in ((network.rgb_encoder, image), (network.depth_encoder, grey)):
            expected = torchvision_answer(path, image if values is image else grey.expand(-1, 3, -1, -1) / 3)
            for block in encoder.eval().values():
                values = functional.max_pool2d(block(values), 2)  # noqa: PLW2901
            torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def torchvision_answer(path: Path, values: Tensor) -> Tensor:
    """Compute what torchvision's layers would, BatchNorm as new where the file has none."""
    tensors = load_file(path)
    pooled_after = {2, 4, 7, 10, 13}
    with_norm = "features.1.running_mean" in tensors
    positions = [int(name.split(".")[1]) for name, shape in torchvision_names(with_norm=with_norm) if len(shape) == 4]
    for count, position in enumerate(positions, start=1):
        weight, bias = (tensors[f"features.{position}.{key}"] for key in ("weight", "bias"))
        values = functional.conv2d(values, weight, bias, padding=1)
        norm = [torch.zeros(len(bias)), torch.ones(len(bias)), None, None]
        if with_norm:
            keys = ("running_mean", "running_var", "weight", "bias")
            norm = [tensors[f"features.{position + 1}.{key}"] for key in keys]
        values = functional.batch_norm(values, *norm).relu()
        if count in pooled_after:
            values = functional.max_pool2d(values, 2)
    return values


@pytest.mark.parametrize(
    ("with_norm", "changed", "says"),
    [
        (True, {"features_40_weight": None}, "no tensor 'features.40.weight': expected a VGG-16"),
        (False, {"features_28_bias": None}, "no tensor 'features.28.bias'"),
        (True, {"features_3_weight": torch.zeros(64, 3, 3, 3)}, r"'features.3.weight' has shape \(64, 3, 3, 3\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, *, with_norm: bool, changed: dict[str, Tensor | None], says: str
) -> None:
    path = written(tmp_path / "weights.safetensors", with_norm=with_norm, **changed)
    with pytest.raises(ConfigError, match=rf"weights.safetensors: {says}[\s\S]*hint: save_file"):
        vgg16_encoder_weights(path)


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg16.pth").write_bytes(b"no safetensors")
    for name in ("vgg16.pth", "absent.safetensors"):
        with pytest.raises(UsageError, match=f"{name}: cannot be read as safetensors"):
            vgg16_encoder_weights(tmp_path / name)


def test_weights_are_for_full_widths_and_sensors_of_three_channels_or_one(tmp_path: Path) -> None:
    path = written(tmp_path / "vgg16.safetensors", with_norm=False)
    with pytest.raises(ConfigError, match=r"channels \(64, 128, 256, 512, 512\), not \(6, 8, 12, 16, 16\)"):
        DENSE_NETWORKS["fusenet-rgb"]([(3, 32, 32)], 5, channels=NARROW).start_from_imagenet(path)
    with pytest.raises(ConfigError, match="averaged for 1, not for 2"):
        vgg16_encoder_weights(path, inputs=2)


def test_weights_of_a_recipe_may_be_a_vgg_16(tmp_path: Path) -> None:
    path = written(tmp_path / "vgg16.safetensors", with_norm=False)
    by_recipe = DENSE_NETWORKS["fusenet-depth"]([(1, 32, 32)], 5)
    digest = load_weights(by_recipe, str(path), owner="teacher 'depth'")
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    filters = load_file(path)["features.0.weight"].mean(dim=1, keepdim=True)
    assert torch.equal(by_recipe.state_dict()["encoder.block1.conv1.weight"], filters)
