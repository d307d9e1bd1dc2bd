"""Tensors that two graphs have in common, and a graph that hands them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto

from mstedge.errors import CheckFailedError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_FLOATING = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
_LOG_ERRORS = 3


@dataclass(frozen=True, slots=True)
class MatchedTensor:
    """A tensor of the reference, and what stands for it in the candidate.

    Attributes:
        name: Its name in the reference.
        node: Name of the node that makes it, or the tensor's where that has none; `input` for the graph's input.
        operator: That node's operator; empty for the graph's input.
        counterpart: The candidate's tensor: the same name, after it was rounded to 8 bits where it is.
    """

    name: str
    node: str
    operator: str
    counterpart: str


def matched_tensors(reference: onnx.ModelProto, candidate: onnx.ModelProto) -> tuple[tuple[MatchedTensor, ...], int]:
    """Match the floating-point tensors of two graphs by name.

    Returns:
        The tensors that both have, in the reference's order, and how many only the reference has. The graph's input is
        among them where the candidate rounds it.
    """
    wanted, there = _floating_tensors(reference), _floating_tensors(candidate)
    rounded = _rounded(candidate.graph)
    matched = [
        MatchedTensor(value.name, "input", "", rounded[value.name])
        for value in reference.graph.input
        if value.name in rounded
    ]
    unmatched = 0
    for node in reference.graph.node:
        for name in node.output:
            if name in wanted and name in there:
                matched.append(MatchedTensor(name, node.name or name, node.op_type, rounded.get(name, name)))
            elif name in wanted:
                unmatched += 1
    return tuple(matched), unmatched


class ExposedGraph:
    """A graph in ONNX Runtime, as it is written: no operator is fused, and chosen tensors come out.

    Args:
        model: The graph, with one input.
        tensors: Names of the tensors.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed

        exposed = onnx.ModelProto()
        exposed.CopyFrom(model)
        self._input = exposed.graph.input[0].name
        present = {self._input, *(value.name for value in exposed.graph.output)}
        wanted = [name for name in dict.fromkeys(tensors) if name not in present]
        exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.intra_op_num_threads = 1
        settings.log_severity_level = _LOG_ERRORS
        self._tensors = list(tensors)
        try:
            self._engine: Any = onnxruntime.InferenceSession(
                exposed.SerializeToString(), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:  # the engine's errors share no base class
            raise CheckFailedError(
                f"the graph cannot be run with its tensors exposed: {first_line(problem)}"
            ) from problem

    def run(self, features: NDArray[np.float32]) -> list[NDArray[np.floating[Any]]]:
        """Compute the chosen tensors, in their order, for features [batch, *shape]."""
        inside = [name for name in self._tensors if name != self._input]
        found = dict(zip(inside, self._engine.run(inside, {self._input: features}), strict=True))
        return [found.get(name, features) for name in self._tensors]


def _floating_tensors(model: onnx.ModelProto) -> set[str]:
    """Name what the nodes of a graph make that is float32 or float16."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    made = {name for node in model.graph.node for name in node.output}
    return {name for name in made if kinds.get(name) in _FLOATING}


def _rounded(graph: onnx.GraphProto) -> dict[str, str]:
    """Find the tensors that go through QuantizeLinear and back: what their readers get."""
    quantised = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    back = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in quantised]
    return {quantised[node.input[0]]: node.output[0] for node in back}
