"""fp16: float16 weights behind fp32 inputs and outputs; what does not fit is refused, not clipped."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from every_student import STUDENTS, graph_of
from graph_answers import answers
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from mstedge.errors import CheckFailedError, UsageError
from mstedge.export.quantise.half import half_from_graph, last_layer
from mstedge.export.quantise.overflow import overflowing_tensors, require_no_overflow
from mstedge.runtime.bundle import check_onnx

PLAIN = ("cnn-audio", "temporal", "mlp")


def scaled(graph: bytes, weight: str, factor: float) -> bytes:
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.name == weight:
            values = (numpy_helper.to_array(tensor) * factor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, weight))
    return model.SerializeToString()


def readers(graph: bytes, tensor: str) -> list[onnx.NodeProto]:
    return [node for node in onnx.load_from_string(graph).graph.node if tensor in node.input]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", PLAIN)
def test_decisions_stay_and_size_halves(name: str, backend: str) -> None:
    case, graph = STUDENTS[name], graph_of(name)
    half = half_from_graph(graph)
    assert len(graph) / len(half) > 1.85
    features = case.rows(100, seed=9)
    expected = answers(graph, case, features, backend=backend, precision="fp32")
    found = answers(half, case, features, backend=backend, precision="fp16")
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.99
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("name", [*PLAIN, "attention"])
def test_every_students_weights_are_float16_and_its_ends_float32(name: str) -> None:
    half = half_from_graph(graph_of(name))
    summary = check_onnx(half)
    assert set(summary.weights) == {"float16"}
    assert {kind for kind, _ in (*summary.inputs.values(), *summary.outputs.values())} == {"float32"}
    assert half == half_from_graph(graph_of(name))


def test_normalisation_over_a_row_computes_in_fp32() -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(half_from_graph(graph_of("attention"))))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    sums = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert len(sums) > 1
    assert {kinds[node.output[0]] for node in sums} == {TensorProto.FLOAT}


def exact_answers(graph: bytes, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a graph operator by operator in the types that it says, which no engine on a CPU does."""
    (logits,) = ReferenceEvaluator(onnx.load_from_string(graph)).run(None, {"sense": features})
    return np.asarray(logits)


def test_a_last_layer_that_is_kept_hands_out_what_it_computed() -> None:
    graph, features = graph_of("mlp"), STUDENTS["mlp"].rows(20)
    rounded = exact_answers(half_from_graph(graph), features)
    kept = exact_answers(half_from_graph(graph, keep=[last_layer(graph)]), features)
    assert (rounded == rounded.astype(np.float16)).all()
    assert (kept != kept.astype(np.float16)).any()


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_logits_beyond_fp16_survive_in_a_kept_last_layer_only() -> None:
    case, loud = STUDENTS["mlp"], scaled(graph_of("mlp"), "classifier.weight", 5e4)
    features = case.rows(20)
    expected = answers(loud, case, features, backend="onnxruntime", precision="fp32")
    assert np.abs(expected).max() > 65504
    overflowing, kept = half_from_graph(loud), half_from_graph(loud, keep=[last_layer(loud)])
    assert not np.isfinite(exact_answers(overflowing, features)).all()
    assert (exact_answers(kept, features).argmax(1) == expected.argmax(1)).mean() >= 0.95
    with pytest.raises(CheckFailedError, match=f"of the node '{last_layer(loud)}' exceeds 65504"):
        require_no_overflow(overflowing, features)
    require_no_overflow(kept, features)


def test_an_overflow_inside_is_found_although_the_answers_look_well() -> None:
    case, graph = STUDENTS["cnn-audio"], scaled(graph_of("cnn-audio"), "hidden.weight", 3e4)
    graph = scaled(graph, "classifier.weight", 1e-4)
    features = case.rows(20)
    half = half_from_graph(graph)
    assert np.isfinite(answers(half, case, features, backend="onnxruntime", precision="fp16")).all()
    assert overflowing_tensors(half, features)[0] == "linear"
    assert overflowing_tensors(half_from_graph(graph_of("cnn-audio")), features) == ()


@pytest.mark.parametrize(
    ("factor", "message"),
    [(1e7, r"'hidden.weight' does not fit into fp16"), (1e-8, r"'hidden.weight' is too small for fp16")],
)
def test_a_weight_that_does_not_fit_is_named_unless_its_layer_is_kept(factor: float, message: str) -> None:
    graph = scaled(graph_of("temporal"), "hidden.weight", factor)
    with pytest.raises(CheckFailedError, match=message) as problem:
        half_from_graph(graph)
    assert "fp32" in str(problem.value.hint)
    (layer,) = readers(graph, "hidden.weight")
    assert check_onnx(half_from_graph(graph, keep=[layer.name])).weights["float32"] == 64 * 64


def test_the_last_layer_makes_the_output() -> None:
    graph = graph_of("attention")
    makers = {name: node for node in onnx.load_from_string(graph).graph.node for name in node.output}
    assert makers["logits"].name == last_layer(graph)


def test_a_node_that_is_not_there_is_an_error_with_its_neighbour() -> None:
    with pytest.raises(UsageError, match="no node 'node_linaer'") as problem:
        half_from_graph(graph_of("mlp"), keep=["node_linaer"])
    assert "node_linear" in str(problem.value.hint)


def test_nothing_is_said_on_the_way(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half_from_graph(scaled(graph_of("cnn-audio"), "hidden.bias", 1e-3))
    assert capfd.readouterr() == ("", "")


def test_nodes_without_names_are_named_the_same_way_each_time() -> None:
    model = onnx.load_from_string(graph_of("mlp"))
    for node in model.graph.node:
        node.name = ""
    unnamed = model.SerializeToString()
    kept = half_from_graph(unnamed, keep=[last_layer(unnamed)])
    assert check_onnx(kept).weights["float32"] == 640
