"""Small ONNX models for tests of the scanner, and what the onnx package sees in a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from bundle_factory import SPECS, model_of, network_weights
from onnx import TensorProto, helper, numpy_helper

from mstedge.runtime.bundle import OnnxSummary


def linear() -> onnx.ModelProto:
    weights, bias = network_weights(SPECS["array"], 0)
    return model_of((4, 6), weights, bias)


def constant(name: str, value: int = 1) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.full((2, 3), value, dtype=np.float32), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def nested(depth: int) -> onnx.GraphProto:
    """Make a graph whose If nodes nest so that there are `depth` graphs inside each other."""
    output = [helper.make_tensor_value_info(f"chosen-{depth}", TensorProto.FLOAT, [2, 3])]
    if depth == 1:
        return helper.make_graph([constant("chosen-1")], "leaf", [], output)
    condition = helper.make_tensor("truth", TensorProto.BOOL, [], [True])
    branches = {"then_branch": nested(depth - 1), "else_branch": nested(depth - 1) if depth < 3 else nested(1)}
    nodes = [
        helper.make_node("Constant", [], [f"condition-{depth}"], value=condition),
        helper.make_node("If", [f"condition-{depth}"], [f"chosen-{depth}"], **branches),
    ]
    return helper.make_graph(nodes, f"depth-{depth}", [], output)


def looped() -> onnx.ModelProto:
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 3])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Relu", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            state,
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 3]),
        ],
    )
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [3])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "", "features"], ["logits"], body=body)],
        "loop",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [2, 3])],
        [trips],
    )
    return as_model(graph)


def as_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def serialised(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


MODELS = {"linear": linear(), "nested": as_model(nested(4)), "loop": looped()}


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from graphs_of(inner)


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in graphs_of(model.graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t


def agree(summary: OnnxSummary, model: onnx.ModelProto) -> None:
    """Require that the scanner saw what onnx sees, and that nothing forbidden is there."""
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node]
    assert summary.nodes == len(nodes)
    assert summary.operators == dict(Counter(node.op_type for node in nodes))
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    assert [entry.version for entry in model.opset_import] == [summary.opset]
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    assert not model.functions
    assert not model.training_info
    for tensor in tensors_of(model):
        assert tensor.data_location == TensorProto.DEFAULT
        assert not tensor.external_data
    initialisers = {tensor.name for tensor in model.graph.initializer}
    assert list(summary.inputs) == [value.name for value in model.graph.input if value.name not in initialisers]
    assert list(summary.outputs) == [value.name for value in model.graph.output]
