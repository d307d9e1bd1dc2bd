"""The first node that leaves the reference is the one that was spoilt."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from every_student import STUDENTS, graph_of
from onnx import TensorProto, helper, numpy_helper

from mstedge.errors import CheckFailedError
from mstedge.explanation import Explanation
from mstedge.export.explain import NamedGraph, explain, worst_rows
from mstedge.export.quantise.half import half_from_graph
from mstedge.export.quantise.int8 import int8_from_graph, prepared
from mstedge.export.quantise.ranges import ActivationRanges, ranges_of
from mstedge.limits import Precision

ROWS = 3


def explained(name: str, reference: bytes, candidate: bytes, precision: Precision = "fp32") -> Explanation:
    return explain(
        NamedGraph("reference", reference),
        NamedGraph("candidate", candidate),
        STUDENTS[name].rows(ROWS, seed=900),
        ids=[f"row-{row}" for row in range(ROWS)],
        precision=precision,
    )


def layers_with_weights(graph: bytes) -> list[str]:
    model = onnx.load_from_string(graph)
    constants = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    return [node.name for node in model.graph.node if node.op_type != "Reshape" and constants & set(node.input)]


def with_one_weight_changed(graph: bytes, node_name: str) -> bytes:
    model = onnx.load_from_string(graph)
    (node,) = (node for node in model.graph.node if node.name == node_name)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name in node.input and len(tensor.dims) > 1)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[values.size // 2] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("name", ["cnn-image", "attention"])
def test_one_changed_weight_is_found_in_its_layer(name: str) -> None:
    graph = graph_of(name)
    layers = layers_with_weights(graph)
    middle = layers[len(layers) // 2]
    found = explained(name, graph, with_one_weight_changed(graph, middle))
    assert found.first_beyond == middle
    assert found.unmatched == 0
    before = [each for each in found.tensors if each.node in layers[: len(layers) // 2]]
    assert before
    assert all(each.median_sqnr_db == 200.0 and each.worst_difference == 0.0 for each in before)


def test_a_graph_explains_itself_without_a_difference() -> None:
    found = explained("mlp", graph_of("mlp"), graph_of("mlp"))
    assert found.first_beyond is None
    assert found.rows == ("row-0", "row-1", "row-2")
    assert found.tensors[-1].tensor == "logits"
    assert {each.median_sqnr_db for each in found.tensors} == {200.0}
    assert all(each.cosine == pytest.approx(1.0) for each in found.tensors)


def test_figures_are_those_of_the_formulas() -> None:
    scaled = constant_times_two(2.002), constant_times_two(2.0)
    rows = np.array([[1.0, -3.0], [2.0, 5.0]], dtype=np.float32)
    found = explain(
        NamedGraph("reference", scaled[1]), NamedGraph("candidate", scaled[0]), rows, ids=["a", "b"], precision="int8"
    )
    (only,) = found.tensors
    assert (only.tensor, only.node, only.operator, only.beyond) == ("logits", "times", "Mul", False)
    assert only.median_sqnr_db == pytest.approx(60.0, abs=1e-3)
    assert only.worst_difference == pytest.approx(0.01 / (2 * rows).std(), rel=1e-3)
    assert only.cosine == pytest.approx(1.0)


def constant_times_two(factor: float) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["sense", "factor"], ["logits"], "times")],
        "student",
        [value("sense", TensorProto.FLOAT, ["batch", 2])],
        [value("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def int8_with_a_bad_range(name: str, spoilt: str | None) -> bytes:
    """Quantise a student well, but for one tensor whose range is fifty times too small."""
    fp32 = prepared(graph_of(name))
    ranges = ranges_of(fp32, STUDENTS[name].rows(64, seed=800), "minmax", symmetric=True)
    factors = {tensor: 0.02 if tensor == spoilt else 1.0 for tensor in ranges.values}
    values = {tensor: (low * factors[tensor], high * factors[tensor]) for tensor, (low, high) in ranges.values.items()}
    return int8_from_graph(fp32, ActivationRanges("minmax", symmetric=True, values=values), form="symmetric")


def test_int8_with_a_bad_range_is_found_where_the_tensor_is_made() -> None:
    graph, good = graph_of("cnn-image"), int8_with_a_bad_range("cnn-image", None)
    assert explained("cnn-image", graph, good, "int8").first_beyond is None
    nodes = onnx.load_from_string(good).graph.node
    makers = {name: node.name for node in nodes for name in node.output}
    rounded = [node.input[0] for node in nodes if node.op_type == "QuantizeLinear"]
    for tensor in (rounded[0], rounded[len(rounded) // 2]):
        found = explained("cnn-image", graph, int8_with_a_bad_range("cnn-image", tensor), "int8")
        assert found.first_beyond == makers.get(tensor, "input")
    assert rounded[0] == "sense"


def test_fp16_that_overflows_is_found_where_it_does() -> None:
    graph = graph_of("mlp")
    model = onnx.load_from_string(graph)
    layers = layers_with_weights(graph)
    (node,) = (node for node in model.graph.node if node.name == layers[1])
    for tensor in model.graph.initializer:
        if tensor.name in node.input:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 30_000, tensor.name))
    large = bytes(model.SerializeToString())
    found = explained("mlp", large, half_from_graph(large), "fp16")
    assert found.first_beyond == layers[1]
    (spoilt,) = (each for each in found.tensors if each.node == layers[1])
    assert (spoilt.median_sqnr_db, spoilt.worst_difference, spoilt.cosine) == (-200.0, None, None)


def test_graphs_of_different_networks_are_refused() -> None:
    with pytest.raises(CheckFailedError, match="have no tensor name in common"):
        explain(
            NamedGraph("this", renamed(graph_of("mlp"))),
            NamedGraph("that", graph_of("mlp")),
            STUDENTS["mlp"].rows(1),
            ids=["a"],
            precision="fp32",
        )


def renamed(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    made = {name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}-other" if name in made else name for name in names]
    model.graph.output[0].name += "-other"
    return bytes(model.SerializeToString())


def test_worst_rows_come_first_and_those_that_are_not_finite_before_them() -> None:
    reference = np.zeros((5, 3), dtype=np.float32)
    candidate = reference.copy()
    candidate[1, 0], candidate[3, 2], candidate[4, 1] = 0.5, 2.0, np.nan
    assert worst_rows(reference, candidate, 3).tolist() == [4, 3, 1]
    assert len(worst_rows(reference, candidate)) == 5


def test_worst_rows_of_dense_answers_are_judged_by_their_worst_place() -> None:
    reference = np.zeros((3, 4, 2, 2), dtype=np.float32)
    candidate = reference.copy()
    candidate[2, 1, 1, 0] = 3.0
    candidate[0] = 1.0  # the same for every class: no probability changes
    assert worst_rows(reference, candidate, 1).tolist() == [2]
