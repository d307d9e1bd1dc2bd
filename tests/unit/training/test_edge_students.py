"""Students for the edge: the counts of their papers, other sizes than the published, and what each refuses."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError, MissingPackageError
from mstedge.training.models.bc_resnet import SubSpectralNorm
from mstedge.training.models.costs import Cost, cost_of
from mstedge.training.models.mobilenet_v3 import rounded_channels
from mstedge.training.models.registry import build_network
from mstedge.training.models.taps import tap_shape

CASES = {
    "ds-cnn as published": ("ds-cnn", (1, 49, 10), {}, 64),
    "ds-cnn of one second of log-mel": ("ds-cnn", (1, 101, 40), {"size": "M"}, 172),
    "ds-cnn of a click": ("ds-cnn", (1, 3, 2), {"size": "L"}, 276),
    "bc-resnet as published": ("bc-resnet", (1, 101, 40), {}, 32),
    "bc-resnet on 32 bands": ("bc-resnet", (1, 31, 32), {"sub_bands": 4, "width": 1.5}, 48),
    "bc-resnet on 13 MFCC": ("bc-resnet", (1, 20, 13), {"sub_bands": 1}, 32),
    "bc-resnet on 80 bands": ("bc-resnet", (1, 7, 80), {"dropout": 0.0}, 32),
    "mobilenet on a digit": ("mobilenet-v3-small", (1, 28, 28), {"first_stride": 1}, 1024),
    "mobilenet on a picture": ("mobilenet-v3-small", (3, 33, 70), {"width": 0.5}, 1024),
    "mobilenet, wide": ("mobilenet-v3-small", (3, 32, 32), {"width": 1.25}, 1280),
}


def on_meta(name: str, shape: tuple[int, ...], classes: int, options: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        return build_network(name, [shape], classes, options).eval()


def cost(name: str, shape: tuple[int, ...], classes: int, **options: Any) -> Cost:
    return cost_of(on_meta(name, shape, classes, options), [shape])


def outputs_of(network: nn.Module, shape: tuple[int, ...], kinds: type[nn.Module]) -> list[tuple[int, int]]:
    """Give the number of values that go into and come out of every module of a kind, for one sample."""
    seen: list[tuple[int, int]] = []

    def look(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0].numel(), output.numel()))

    handles = [module.register_forward_hook(look) for module in network.modules() if isinstance(module, kinds)]
    network(torch.empty((1, *shape), device="meta"))
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(("size", "kilobytes", "mega_ops"), [("S", 38.6, 5.4), ("M", 189.2, 19.8), ("L", 497.6, 56.9)])
def test_ds_cnn_needs_the_memory_and_operations_of_the_paper(size: str, kilobytes: float, mega_ops: float) -> None:
    # Zhang et al. 2017, the table of networks that fit a microcontroller: a byte per weight, BatchNorm folded into a
    # bias, and the largest input and output of a layer; two operations per multiply-add and one per bias.
    shape = (1, 49, 10)
    network = on_meta("ds-cnn", shape, 12, {"size": size})
    counted = cost_of(network, [shape])
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    layers = outputs_of(network, shape, nn.Conv2d)
    weights = counted.parameters - sum(norm.num_features for norm in norms)
    biases = sum(output for _, output in layers) + 12
    assert (weights + max(map(sum, layers))) / 1e3 == pytest.approx(kilobytes, abs=0.05)
    assert (2 * counted.multiply_adds + biases) / 1e6 == pytest.approx(mega_ops, abs=0.05)


@pytest.mark.parametrize(
    ("width", "kilo_parameters", "mega_multiplies"),
    [(1, 9.2, 3.1), (1.5, 17.2, 5.5), (2, 27.3, 8.5), (3, 54.2, 16.2), (6, 188, 53.1), (8, 321, 89.1)],
)
def test_bc_resnet_counts_what_the_paper_counts(width: float, kilo_parameters: float, mega_multiplies: float) -> None:
    # Kim et al. 2021, table 3. They do not say what they count: one second in windows of 30 ms every 10 ms gives 98
    # frames, and with two operations per normalised value and one per ReLU all six figures come out.
    assert cost("bc-resnet", (1, 101, 40), 12, width=width).parameters / 1e3 == pytest.approx(kilo_parameters, rel=5e-3)
    shape = (1, 98, 40)
    network = on_meta("bc-resnet", shape, 12, {"width": width})
    normalised = sum(output for _, output in outputs_of(network, shape, nn.BatchNorm2d))
    rectified = sum(output for _, output in outputs_of(network, shape, nn.ReLU))
    counted = cost_of(network, [shape]).multiply_adds + 2 * normalised + rectified
    assert counted / 1e6 == pytest.approx(mega_multiplies, abs=0.06)


@pytest.mark.parametrize(
    ("width", "mega_parameters", "mega_multiply_adds", "paper"),
    [(1.0, 2.543, 56.52, (2.5, 56)), (0.75, 2.042, 43.40, (2.0, 44))],
)
def test_mobilenet_counts_what_the_paper_counts(
    width: float, mega_parameters: float, mega_multiply_adds: float, paper: tuple[float, float]
) -> None:
    # Howard et al. 2019 (v5), table 3, which rounds; with more digits in github.com/d-li14/mobilenetv3.pytorch.
    counted = cost("mobilenet-v3-small", (3, 224, 224), 1000, width=width)
    assert counted.parameters / 1e6 == pytest.approx(mega_parameters, abs=5e-4)
    assert counted.multiply_adds / 1e6 == pytest.approx(mega_multiply_adds, abs=0.02)
    assert round(counted.parameters / 1e6, 1) == paper[0]
    assert counted.multiply_adds / 1e6 == pytest.approx(paper[1], rel=0.02)


@pytest.mark.parametrize(
    ("channels", "rounded"), [(1, 8), (12, 16), (18, 24), (24, 24), (30, 32), (36, 40), (44, 48), (72, 72)]
)
def test_channels_are_multiples_of_eight_and_lose_a_tenth_at_most(channels: float, rounded: int) -> None:
    assert rounded_channels(channels) == rounded


def test_costs_are_those_counted_by_hand_and_leave_the_network_alone() -> None:
    network = build_network("cnn", [(1, 6, 8)], 3, {"channels": [2, 4], "hidden": 5})
    first, second = 6 * 8 * 2 * 9, 3 * 4 * 4 * 2 * 9  # the second after 2x2 pooling
    parameters = 2 * 9 + 4 * 2 * 9 + 2 * (2 + 4) + (4 * 5 + 5) + (5 * 3 + 3)
    assert cost_of(network, [(1, 6, 8)]) == Cost(parameters, first + second + 4 * 5 + 5 * 3)
    assert network.training
    assert next(network.parameters()).device.type == "cpu"


def test_costs_of_attention_count_its_scores() -> None:
    steps, width = 9, 48
    block = steps * width * (3 * width + width + 4 * width) + 2 * steps * steps * width
    expected = steps * 6 * width + 2 * block + width * 64 + 64 * 4
    assert cost("attention", (9, 6), 4).multiply_adds == expected


@pytest.mark.parametrize("case", CASES)
def test_every_size_gives_logits_and_a_hidden_vector_and_learns_with_all_of_it(case: str) -> None:
    name, shape, options, hidden = CASES[case]
    torch.manual_seed(0)
    network = build_network(name, [shape], 4, options)
    values = torch.randn(3, *shape)
    logits = network(values)
    assert logits.shape == (3, 4)
    assert tap_shape(network, "hidden", [values], owner=name) == (hidden,)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", ["ds-cnn", "bc-resnet"])
def test_the_same_weights_take_any_number_of_frames(name: str) -> None:
    network = build_network(name, [(1, 49, 40)], 4, {}).eval()
    other = build_network(name, [(1, 98, 40)], 4, {}).eval()
    other.load_state_dict(network.state_dict())
    values = torch.randn(2, 1, 98, 40)
    with torch.no_grad():
        assert torch.equal(network(values), other(values))


def test_mobilenet_can_be_tapped_at_the_maps_of_its_last_block() -> None:
    network = build_network("mobilenet-v3-small", [(3, 64, 96)], 4, {"width": 0.5})
    assert tap_shape(network, "blocks", [torch.zeros(2, 3, 64, 96)], owner="it") == (48, 2, 3)


def test_sub_spectral_norm_is_batch_norm_of_each_range_by_itself() -> None:
    torch.manual_seed(0)
    maps = torch.randn(6, 3, 10, 7) * torch.arange(1.0, 11.0)[:, None] + 2
    norm = SubSpectralNorm(3, 5)
    nn.init.normal_(norm.norm.weight)
    nn.init.normal_(norm.norm.bias)
    found = norm(maps)
    weight, bias = norm.norm.weight.view(3, 5), norm.norm.bias.view(3, 5)
    for part in range(5):
        rows = maps[:, :, 2 * part : 2 * part + 2]
        expected = nn.functional.batch_norm(rows, None, None, weight[:, part], bias[:, part], training=True)
        torch.testing.assert_close(found[:, :, 2 * part : 2 * part + 2], expected)


@pytest.mark.parametrize(
    ("name", "shape", "options", "says"),
    [
        ("ds-cnn", (3, 49, 10), {}, r"\[1, frames, bands\], not \[3, 49, 10\]"),
        ("ds-cnn", (49, 10), {}, r"\[1, frames, bands\]"),
        ("ds-cnn", (1, 49, 10), {"size": "XL"}, "no size 'XL'\n.*choose from: L, M, S"),
        ("bc-resnet", (1, 101, 32), {}, r"32 bands.*\[16, 8, 4\] rows, not multiples of 5\D*\n.*one of \[1, 2, 4\]"),
        ("bc-resnet", (1, 101, 40), {"width": 1.3}, "width 1.3: expected a positive multiple of 0.25"),
        ("bc-resnet", (1, 101, 40), {"depth": 2}, "cannot be made with options"),
        ("mobilenet-v3-small", (28, 28), {}, r"\[channels, height, width\]"),
        ("mobilenet-v3-small", (1, 28, 28), {"width": 0}, "width 0: expected a positive factor"),
        ("mobilenet-v3-small", (1, 28, 28), {"first_stride": 4}, "first_stride 4: expected 1 or 2"),
        ("dscnn", (1, 49, 10), {}, "no network 'dscnn'\n.*did you mean 'ds-cnn'.*timm:NAME"),
    ],
)
def test_what_a_student_cannot_take_is_said(
    name: str, shape: tuple[int, ...], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        build_network(name, [shape], 4, options)


class FakeTimm:
    """Stands in for the package: two names, one of which can be made."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    @staticmethod
    def list_models() -> list[str]:
        return ["resnet18", "resnet34", "vit_tiny_patch16_224"]

    def is_model(self, name: str) -> bool:
        return name in self.list_models()

    def create_model(self, name: str, **options: Any) -> nn.Module:
        self.asked = {"name": name, **options}
        return nn.Sequential(
            nn.Conv2d(options["in_chans"], 6, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, options["num_classes"]),
        )


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> FakeTimm:
    fake = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", fake)  # type: ignore[arg-type]
    return fake


def test_a_network_of_timm_gets_classes_and_channels_from_the_data_and_fresh_weights(timm: FakeTimm) -> None:
    network = build_network("timm:resnet18", [(2, 9, 8)], 5, {"drop_rate": 0.1})
    assert timm.asked == {"name": "resnet18", "pretrained": False, "num_classes": 5, "in_chans": 2, "drop_rate": 0.1}
    assert network(torch.zeros(3, 2, 9, 8)).shape == (3, 5)


@pytest.mark.parametrize(
    ("name", "shape", "options", "says"),
    [
        (
            "timm:resnet81",
            (3, 8, 8),
            {},
            "timm has no network 'resnet81'\n.*did you mean 'resnet18'. choose from: resnet18, resnet34$",
        ),
        ("timm:hf-hub:someone/theirs", (3, 8, 8), {}, "no network 'hf-hub:someone/theirs'\n.*timm.list_models"),
        ("timm:resnet18", (8,), {}, r"'timm:resnet18' takes one modality with features \[channels, height, width\]"),
        ("timm:resnet18", (3, 8, 8), {"pretrained": True}, r"does not take the options \['pretrained'\]"),
        ("timm:resnet18", (3, 8, 8), {"checkpoint_path": "x.pth"}, r"does not take the options \['checkpoint_path'\]"),
    ],
)
@pytest.mark.usefixtures("timm")
def test_what_timm_cannot_make_is_said(name: str, shape: tuple[int, ...], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_network(name, [shape], 5, options)


def test_without_timm_its_networks_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # type: ignore[arg-type]
    with pytest.raises(MissingPackageError, match="'timm:resnet18' needs the package 'timm'") as problem:
        build_network("timm:resnet18", [(3, 8, 8)], 5, {})
    assert problem.value.hint == "pip install timm"
