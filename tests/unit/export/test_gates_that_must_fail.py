"""Each kind of damage that a conversion can do fails the gate, at the level that should see it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from bundle_factory import png_bytes, wav_bytes
from made_student import LABELS, WIDTH, MadeStudent, made_student
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from mstedge.errors import BundleError
from mstedge.export.candidate import Candidate, loaded
from mstedge.export.gate_rows import gate_rows
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.pipeline import GateRefusedError, export_student
from mstedge.export.quantise.int8 import int8_from_graph, prepared
from mstedge.export.quantise.ranges import ranges_of
from mstedge.export.student import Rows
from mstedge.export.wish import ExportWish
from mstedge.limits import Precision
from mstedge.parity import ParityReport
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.parity.gate import GateSetup, run_gate
from mstedge.runtime.preprocess import decode_file, features_from_decoded
from mstedge.specs import AudioSpec, ImageSpec, Spec
from mstedge.training.data.source import RawFile

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sabotaged(MadeStudent):
    """A student whose graph is not what the reference says."""

    model: bytes = b""

    def graph(self) -> bytes:
        return self.model


def sabotaged(student: MadeStudent, model: bytes) -> Sabotaged:
    fields = {name: getattr(student, name) for name in MadeStudent.__dataclass_fields__}
    return Sabotaged(**fields, model=model)


def refused(student: MadeStudent, folder: Path, precision: Precision = "fp32") -> ParityReport:
    """Export and give the report of the gate, which must say no and leave nothing."""
    with pytest.raises(GateRefusedError) as caught:
        export_student(student, folder / "x.bundle", ExportWish(precision=precision), note=lambda _text: None)
    assert caught.value.exit_code == 1
    assert caught.value.report.verdict == "fail"
    assert list(folder.iterdir()) == []
    return caught.value.report


def broken_levels(report: ParityReport) -> set[str]:
    levels = {check.level for check in report.checks if not check.passed and check.severity == "fail"}
    return levels | {reason[:2] for reason in report.reasons}


def with_weight(model: bytes, change: Callable[[Floats], Floats], *, rank: int = 2, last: bool = False) -> bytes:
    """Change the first (or last) weight of a rank in the graph."""
    parsed = onnx.load_from_string(model)
    weights = [each for each in parsed.graph.initializer if len(each.dims) == rank]
    chosen = weights[-1 if last else 0]
    chosen.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(chosen).copy()), chosen.name))
    return parsed.SerializeToString()


def test_the_undamaged_student_passes(tmp_path: Path) -> None:
    report, _, _ = export_student(made_student(), tmp_path / "x.bundle", ExportWish(), note=lambda _text: None)
    assert (report.verdict, report.reasons) == ("pass", ())


def test_one_perturbed_weight(tmp_path: Path) -> None:
    def perturb(weights: Floats) -> Floats:
        weights[0, 0] += np.float32(0.05)
        return weights

    report = refused(sabotaged(made_student(), with_weight(made_student().graph(), perturb)), tmp_path)
    assert "L1" in broken_levels(report)
    assert "L0" not in broken_levels(report)


@pytest.mark.parametrize(("precision", "level"), [("fp32", "L2"), ("int8", "L3")])
def test_swapped_class_order(tmp_path: Path, precision: Precision, level: str) -> None:
    network = copy.deepcopy(made_student().network)
    with torch.no_grad():
        network.classifier.weight.copy_(network.classifier.weight[[1, 0, 2]])
        network.classifier.bias.copy_(network.classifier.bias[[1, 0, 2]])
    model = made_student().but(network=network).graph()
    report = refused(sabotaged(made_student(), model), tmp_path, precision)
    assert level in broken_levels(report)


class FromFiles(MadeStudent):
    """A student whose recordings are files, and whose spec may not be the one that training used."""

    suffix = ".wav"

    def recording(self, row: int) -> RawFile:
        return RawFile(self.suffix, self.raw[row])


def student_of_files(files: list[bytes], suffix: str, trained: Spec, shipped: Spec, folder: Path) -> MadeStudent:
    features = []
    for content in files:
        path = folder / f"file{suffix}"
        path.write_bytes(content)
        features.append(features_from_decoded(decode_file(path, trained), trained))
        path.unlink()
    stacked = np.stack(features)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(stacked[0].size, len(LABELS))).eval()
    with torch.no_grad():
        labels = network(torch.from_numpy(stacked)).numpy().argmax(axis=1)
    ids = tuple(str(number) for number in range(len(files)))
    rows = Rows(ids, ids, labels, stacked)
    student = FromFiles(network=network, training=rows, held_out=rows, raw=files, spec=shipped)  # type: ignore[arg-type]
    student.__class__.suffix = suffix

    model = onnx_from_network(network, trained.feature_shape, input_name="sense")
    return replace_graph(student, model)


def replace_graph(student: MadeStudent, model: bytes) -> MadeStudent:
    kind = type("Damaged", (type(student),), {"graph": lambda _self: model})
    return kind(**{name: getattr(student, name) for name in MadeStudent.__dataclass_fields__})


def test_wrong_colour_order(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    files = [png_bytes(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(12)]
    rgb = ImageSpec(width=8, height=8, colour="rgb")
    student = student_of_files(files, ".png", rgb, msgspec.structs.replace(rgb, colour="bgr"), tmp_path)
    report = refused(student, tmp_path)
    (check,) = [each for each in report.checks if "raw file" in each.name or "front end" in each.name]
    assert (check.level, check.value) == ("L0", 12)


def test_wrong_padding(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    files = [wav_bytes(0.3 * generator.normal(size=2000), 8000) for _ in range(12)]
    reflect = AudioSpec(
        sample_rate_hz=8000, clip_samples=2000, window_samples=256, hop_samples=128, fft_samples=256, mel_bands=16
    )
    student = student_of_files(files, ".wav", reflect, msgspec.structs.replace(reflect, edges="zero"), tmp_path)
    report = refused(student, tmp_path)
    (check,) = [each for each in report.checks if "raw file" in each.name or "front end" in each.name]
    assert (check.level, check.value) == ("L0", 12)


class BatchStatistics(nn.Module):
    """What BatchNorm does in training mode: every row's answer depends on its neighbours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        centred = values - values.mean(dim=0, keepdim=True)
        return self.network(values + 1e-2 * centred)


def test_batchnorm_in_training_mode(tmp_path: Path) -> None:
    model = onnx_from_network(BatchStatistics(made_student().network), (WIDTH,), input_name="sense")
    report = refused(sabotaged(made_student(), model), tmp_path)
    assert "L0" in broken_levels(report)
    assert any("batch" in reason for reason in report.reasons)


def test_fp16_overflow(tmp_path: Path) -> None:
    network = copy.deepcopy(made_student().network)
    with torch.no_grad():  # the same function, through a layer whose activations no fp16 can hold
        network.hidden.weight *= 1e5 / 2
        network.hidden.bias *= 1e5 / 2
        network.classifier.weight *= 2 / 1e5
    student = made_student().but(network=network)
    fp32, _, _ = export_student(student, tmp_path / "ok" / "x.bundle", ExportWish(), note=lambda _text: None)
    assert fp32.verdict == "pass"
    (tmp_path / "fp16").mkdir()
    report = refused(student, tmp_path / "fp16", "fp16")
    assert "L0" in broken_levels(report)
    assert any("float16 cannot hold (first: linear_1)" in reason for reason in report.reasons)


@pytest.mark.parametrize("form", ["uint8", "symmetric"])
def test_int8_with_random_calibration(form: str) -> None:
    student = made_student()
    noise = (1e-2 * np.random.default_rng(0).normal(size=(300, WIDTH))).astype(np.float32)
    ready = prepared(student.graph())
    model = int8_from_graph(ready, ranges_of(ready, noise, "minmax", symmetric=form == "symmetric"), form=form)  # type: ignore[arg-type]
    report = gated(student, model, "int8")
    assert report.verdict == "fail"
    assert broken_levels(report) & {"L1", "L3"}


def gated(student: MadeStudent, model: bytes, precision: Precision) -> ParityReport:
    wish = ExportWish(precision=precision)
    setup = GateSetup(
        target="onnx", scope="engine", labels=student.labels, model_sha256="0" * 64, graph=check_onnx(model)
    )
    return run_gate(loaded(Candidate(model), student, wish), gate_rows(student), setup)


def frozen_inside(model: bytes) -> bytes:
    """Put a reshape to [1, width] before the network: the batch is free by declaration only."""
    parsed = onnx.load_from_string(model)
    graph = parsed.graph
    source = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["frozen" if name == source else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array([1, WIDTH], np.int64), "frozen_shape"))
    graph.node.insert(0, helper.make_node("Reshape", [source, "frozen_shape"], ["frozen"]))
    return parsed.SerializeToString()


@pytest.mark.parametrize("declared", [True, False])
def test_a_batch_that_is_frozen_to_one(tmp_path: Path, *, declared: bool) -> None:
    model = onnx.load_from_string(made_student().graph())
    if declared:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    damaged = model.SerializeToString() if declared else frozen_inside(model.SerializeToString())
    with pytest.raises(BundleError, match="batch of any size"):  # the contract, before a single row is run
        export_student(sabotaged(made_student(), damaged), tmp_path / "x.bundle", ExportWish(), note=lambda _text: None)
    assert list(tmp_path.iterdir()) == []


def test_calibration_rows_among_the_gates_rows_are_invalid(tmp_path: Path) -> None:
    student = made_student()
    leaking = replace(student.training, features=student.held_out.features[: len(student.training)])
    with pytest.raises(GateRefusedError, match="invalid") as caught:
        export_student(
            student.but(training=leaking), tmp_path / "x.bundle", ExportWish(precision="int8"), note=lambda _text: None
        )
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_too_few_rows_are_inconclusive_and_say_how_many_would_do(tmp_path: Path) -> None:
    student = made_student()
    held_out = student.held_out
    few = Rows(held_out.ids[:60], held_out.clusters[:60], held_out.labels[:60], held_out.features[:60])
    with pytest.raises(GateRefusedError, match="inconclusive") as caught:
        export_student(
            student.but(held_out=few), tmp_path / "x.bundle", ExportWish(precision="int8"), note=lambda _text: None
        )
    assert caught.value.exit_code == 4
    assert caught.value.report.task is not None
    assert (caught.value.report.task.needed_rows or 0) > 60
