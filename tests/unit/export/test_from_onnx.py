"""A model from elsewhere: what it becomes, what is proved about it, and what is refused with which way out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from bundle_factory import LABELS, SPECS, Floats, logits_of, model_of, network_weights, npy_bytes
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mstedge.errors import SampleError, UsageError
from mstedge.export.from_onnx import OnnxStudent, student_from_onnx
from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.labelled_files import UNLABELLED
from mstedge.runtime.postprocess import softmax
from mstedge.specs import ArraySpec

SHAPE = (4, 6)
WEIGHTS, BIAS = network_weights(SPECS["array"], 0)
ROWS = 9


@dataclass(frozen=True)
class Case:
    """A model, its description and its rows on disk."""

    folder: Path
    notes: list[str]

    def student(self, model: onnx.ModelProto | bytes, data: str = "rows.csv") -> OnnxStudent:
        content = model if isinstance(model, bytes) else model.SerializeToString()
        (self.folder / "given.onnx").write_bytes(content)
        folder = self.folder
        return student_from_onnx(folder / "given.onnx", folder / "spec.yaml", folder / data, note=self.notes.append)

    def features(self, rows: Sequence[int]) -> Floats:
        return np.stack([np.load(self.folder / f"{row}.npy") for row in rows])


@pytest.fixture
def case(tmp_path: Path) -> Case:
    generator = np.random.default_rng(3)
    lines = ["inertia,video,label,split,cluster"]
    for row in range(ROWS):
        (tmp_path / f"{row}.npy").write_bytes(npy_bytes(generator.normal(size=SHAPE).astype(np.float32)))
        split = "train" if row < 3 else "test"
        lines.append(f"{row}.npy,elsewhere.mp4,{LABELS[row % 3] if row != 4 else ''},{split},walk {row}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    describe(tmp_path)
    return Case(tmp_path, [])


def describe(folder: Path, **changes: object) -> None:
    front_end = {"kind": "array", "shape": list(SHAPE)}
    spec = {
        "name": "walks",
        "modality": "inertia",
        "labels": list(LABELS),
        "front_end": front_end,
        "licence": "CC0-1.0",
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump({**spec, **changes}))


def ending_in(operator: str, **attributes: int) -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.graph.node.append(helper.make_node(operator, ["logits"], ["answer"], **attributes))
    model.graph.output[0].name = "answer"
    return model


def with_batch(rows: int | str, model: onnx.ModelProto | None = None) -> onnx.ModelProto:
    model = model or model_of(SHAPE, WEIGHTS, BIAS)
    for value in [*model.graph.input, *model.graph.output]:
        dimension = value.type.tensor_type.shape.dim[0]
        dimension.Clear()
        if isinstance(rows, int):
            dimension.dim_value = rows
        elif rows:
            dimension.dim_param = rows
    return model


def reshaped(sizes: Sequence[int], rows: int | str = 1) -> onnx.ModelProto:
    """Make the linear network with a Reshape in the place of Flatten, as exporters write it."""
    model = with_batch(rows)
    node = helper.make_node("Reshape", ["features", "sizes"], ["flat"])
    model.graph.node.remove(model.graph.node[0])
    model.graph.node.insert(0, node)
    model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, dtype=np.int64), "sizes"))
    return model


def answers(student: OnnxStudent, features: Floats) -> Floats:
    """Run the student's graph as a device would."""
    network = Network(
        student.graph(),
        Tensor(name=student.modality, shape=student.spec.feature_shape),
        Tensor(name="logits", shape=(len(student.labels),)),
        "fp32",
    )
    return backend_named("onnxruntime").load(network, EngineOptions(threads=1)).run(features)


def test_rows_are_split_as_the_manifest_says(case: Case) -> None:
    student = case.student(model_of(SHAPE, WEIGHTS, BIAS))
    assert student.training.ids == ("2-0.npy", "3-1.npy", "4-2.npy")
    assert student.held_out.ids == tuple(f"{row + 2}-{row}.npy" for row in range(3, ROWS))
    assert student.held_out.labels.tolist() == [0, UNLABELLED, 2, 0, 1, 2]
    assert student.held_out.clusters[0] == "walk 3"
    np.testing.assert_array_equal(student.training.features, case.features(range(3)))
    np.testing.assert_array_equal(student.held_out.features, case.features(range(3, ROWS)))
    raw = student.recording(1)
    assert (raw.suffix, raw.content) == (".npy", (case.folder / "4.npy").read_bytes())


def test_without_a_split_every_row_goes_to_the_gate(case: Case) -> None:
    (case.folder / "all.csv").write_text("inertia,label\n0.npy,low\n1.npy,high\n")
    student = case.student(model_of(SHAPE, WEIGHTS, BIAS), "all.csv")
    assert (len(student.training), len(student.held_out)) == (0, 2)
    assert student.training.features.shape == (0, *SHAPE)


def test_description_and_lineage_are_carried(case: Case) -> None:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.producer_name, model.producer_version = "elsewhere", "1.2"
    student = case.student(model)
    assert (student.name, student.modality, student.labels) == ("walks", "inertia", LABELS)
    assert student.spec == ArraySpec(shape=SHAPE), "nothing is fitted"
    assert (student.licence, student.shareable) == ("CC0-1.0", False)
    lineage = student.lineage
    assert (lineage.origin, lineage.network, lineage.recipe, lineage.seed) == ("onnx", "factory", None, None)
    assert lineage.weights_sha256 == hashlib.sha256((case.folder / "given.onnx").read_bytes()).hexdigest()
    assert lineage.parameters == WEIGHTS.size + BIAS.size
    assert lineage.modalities == ("inertia",)
    assert lineage.versions == {"onnx": onnx.__version__, "producer": "elsewhere 1.2"}
    before = lineage.data_sha256
    (case.folder / "8.npy").write_bytes(npy_bytes(np.zeros(SHAPE, dtype=np.float32)))
    assert case.student(model).lineage.data_sha256 != before


def test_graph_is_as_a_bundle_carries_it(case: Case) -> None:
    student = case.student(with_batch("N"))
    summary = check_onnx(student.graph())
    assert summary.inputs == {"inertia": ("float32", ("batch", *SHAPE))}
    assert summary.outputs == {"logits": ("float32", ("batch", 3))}
    features = case.features(range(ROWS))
    np.testing.assert_allclose(answers(student, features), logits_of(features, WEIGHTS, BIAS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(student.reference_logits(features), logits_of(features, WEIGHTS, BIAS), atol=1e-5)
    assert case.notes == []
    assert student.graph() == case.student(with_batch("N")).graph()


def test_names_that_are_taken_inside_make_way(case: Case) -> None:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "inertia"
    model.graph.output[0].name = "answer"
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["answer"]))
    student = case.student(model)
    assert list(check_onnx(student.graph()).inputs) == ["inertia"]
    features = case.features(range(2))
    np.testing.assert_allclose(answers(student, features), logits_of(features, WEIGHTS, BIAS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("attributes", [{}, {"axis": 1}, {"axis": -1}])
def test_final_softmax_is_taken_away(case: Case, operator: str, attributes: dict[str, int]) -> None:
    student = case.student(ending_in(operator, **attributes))
    features = case.features(range(ROWS))
    expected = logits_of(features, WEIGHTS, BIAS)
    np.testing.assert_allclose(student.reference_logits(features), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answers(student, features), expected, rtol=1e-4, atol=1e-5)
    assert case.notes == [f"given.onnx: the last {operator} was taken away: a bundle carries logits"]


@pytest.mark.parametrize(
    ("rows", "model"),
    [
        (1, with_batch(1)),
        (4, with_batch(4)),
        (1, reshaped([1, 24])),
        (1, reshaped([1, -1])),
        (1, reshaped([-1, 24])),
        (4, reshaped([4, 24], 4)),
    ],
    ids=["flatten", "flatten 4", "all sizes", "rest", "free already", "all sizes 4"],
)
def test_fixed_batch_is_freed_where_that_is_sound(case: Case, rows: int, model: onnx.ModelProto) -> None:
    noted = onnx.ModelProto.FromString(model.SerializeToString())
    noted.graph.value_info.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, [rows, 24]))
    student = case.student(noted)
    features = case.features(range(ROWS))
    expected = logits_of(features, WEIGHTS, BIAS)
    np.testing.assert_allclose(answers(student, features), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(student.reference_logits(features), expected, rtol=1e-4, atol=1e-5)
    assert f"the batch was fixed to {rows} and is free now" in case.notes[0]


def mixing_rows() -> onnx.ModelProto:
    """Add the largest logit of all rows: with one row at a time its answers are others than with several."""
    model = with_batch(1)
    model.graph.node[1].output[0] = "before"
    model.graph.node.append(helper.make_node("ReduceMax", ["before"], ["largest"], axes=[0], keepdims=1))
    model.graph.node.append(helper.make_node("Add", ["before", "largest"], ["logits"]))
    return model


def cutting_rows() -> onnx.ModelProto:
    """Reshape through a shape in which the batch is no axis of its own."""
    model = reshaped([1, 24])
    model.graph.node.insert(0, helper.make_node("Reshape", ["features", "inner"], ["cut"]))
    model.graph.node[1].input[0] = "cut"
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 12], dtype=np.int64), "inner"))
    return model


@pytest.mark.parametrize("model", [mixing_rows, cutting_rows])
def test_fixed_batch_that_cannot_be_freed_is_refused(case: Case, model: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(UsageError, match="its batch is fixed to 1, and it cannot run with another number") as problem:
        case.student(model())
    assert "dynamic" in (problem.value.hint or "")


def test_batch_that_is_free_by_name_only_is_refused(case: Case) -> None:
    with pytest.raises(UsageError, match=r"given\.onnx: it cannot run with another number of rows"):
        case.student(reshaped([1, 24], "N"))


def channels_last() -> onnx.ModelProto:
    return model_of((6, 4), WEIGHTS, BIAS)


def without_batch() -> onnx.ModelProto:
    model = with_batch(1)
    del model.graph.input[0].type.tensor_type.shape.dim[0]
    return model


def two_inputs() -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["batch"]))
    return model


def typed(kind: int) -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


def too_old() -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.opset_import[0].version = 12
    return model


def quantised() -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    nodes = [
        helper.make_node("QuantizeLinear", ["features", "scale"], ["integers"]),
        helper.make_node("DequantizeLinear", ["integers", "scale"], ["again"]),
    ]
    model.graph.node[0].input[0] = "again"
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "scale"))
    return model


def half_precision() -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.graph.node.insert(0, helper.make_node("Cast", ["features"], ["small"], to=TensorProto.FLOAT16))
    model.graph.node[1].input[0] = "small"
    model.graph.node[2].output[0] = "half_logits"
    model.graph.node.append(helper.make_node("Cast", ["half_logits"], ["logits"], to=TensorProto.FLOAT))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    return model


def external() -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="given.onnx.data")
    return model


def custom() -> onnx.ModelProto:
    model = model_of(SHAPE, WEIGHTS, BIAS)
    model.graph.node[0].domain = "com.elsewhere"
    return model


def probabilities_of_its_own() -> onnx.ModelProto:
    model = ending_in("Softmax")
    model.graph.node.append(helper.make_node("Identity", ["answer"], ["last"]))
    model.graph.output[0].name = "last"
    return model


def not_finite() -> onnx.ModelProto:
    return model_of(SHAPE, WEIGHTS, BIAS * np.float32(np.inf))


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (channels_last, r"takes [batch, 6, 4], but the front end makes [batch, 4, 6]", "channels first"),
        (without_batch, "takes [4, 6], but the front end makes [batch, 4, 6]", "batch as its first dimension"),
        (lambda: model_of((4, 7), WEIGHTS, BIAS), "takes [batch, 4, 7], but", "correct front_end"),
        (
            lambda: model_of(SHAPE, np.vstack([WEIGHTS, WEIGHTS]), np.tile(BIAS, 2)),
            "its output 'logits' gives [batch, 6], but the specification names 3 labels",
            "one value per label",
        ),
        (two_inputs, "its inputs are: features float32 [batch, 4, 6], second float32 [batch]: expected one", ""),
        (lambda: typed(TensorProto.DOUBLE), "its inputs are: features float64", ""),
        (too_old, "uses operator set 12: expected 13 or newer", "cannot be quantised per channel"),
        (quantised, "has the operator DequantizeLinear: expected the float32 model", "--precision"),
        (half_precision, "has weights of type float16: expected the float32 model", "--precision"),
        (external, "keeps its data in another file (external data)", "onnx.save(onnx.load("),
        (custom, "'com.elsewhere'", "standard operators"),
        (lambda: ending_in("Sigmoid"), "ends in Sigmoid", "one logit per class"),
        (lambda: ending_in("Softmax", axis=0), "ends in Softmax over axis 0, which cannot", "is the logits"),
        (probabilities_of_its_own, "gives probabilities, not logits", "without its last softmax"),
        (not_finite, "gives values that are not finite", ""),
        (lambda: b"no model", "given.onnx: ", ""),
    ],
)
def test_model_that_cannot_be_used(
    case: Case, model: Callable[[], onnx.ModelProto | bytes], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as problem:
        case.student(model())
    assert message in problem.value.message
    assert "given.onnx" in problem.value.message
    assert hint in (problem.value.hint or "")
    assert "bundle is damaged" not in str(problem.value)


def test_files_that_are_not_there(case: Case) -> None:
    with pytest.raises(UsageError, match=r"none\.onnx: cannot be read"):
        student_from_onnx(case.folder / "none.onnx", case.folder / "spec.yaml", case.folder / "rows.csv")
    (case.folder / "5.npy").unlink()
    with pytest.raises(SampleError, match=r"row 7-5.npy: .*5.npy: cannot be read"):
        case.student(model_of(SHAPE, WEIGHTS, BIAS))


def test_only_training_rows_are_refused(case: Case) -> None:
    (case.folder / "train.csv").write_text("inertia,label,split\n0.npy,low,train\n")
    with pytest.raises(UsageError, match="all 1 rows are of the split train"):
        case.student(model_of(SHAPE, WEIGHTS, BIAS), "train.csv")


class Pooled(nn.Module):
    """A small network whose layers allow any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.body(values), dim=1)


@pytest.mark.parametrize("dynamic", [True, False])
def test_what_torch_writes_is_taken(case: Case, dynamic: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    network = Pooled().eval()
    rows = 2 if dynamic else 1
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    program = torch.onnx.export(
        network, (torch.zeros(rows, *SHAPE),), dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False
    )
    program.save(str(case.folder / "torch.onnx"))
    student = case.student((case.folder / "torch.onnx").read_bytes())
    features = case.features(range(ROWS))
    with torch.no_grad():
        expected = network.body(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(student.reference_logits(features), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(softmax(answers(student, features)), softmax(expected), atol=1e-5)
    assert student.lineage.versions["producer"].startswith("pytorch")
