"""Where a graph is quantised: which nodes compute in int8, and which tensors are rounded for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from mstedge.export.quantise.graph_bytes import consumers_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import onnx

Form: TypeAlias = Literal["uint8", "symmetric"]
_FLOAT = 1
_ACTIVATIONS = frozenset({"Relu", "Clip"})
# These hand values on unchanged: engines move a rounding across them, but ONNX Runtime not across a MaxPool.
_PASS_THROUGH = frozenset({"Flatten", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with constant weights that can compute in int8.

    Attributes:
        node: Its name.
        input: The activation that it reads.
        weight: Its weights.
        axis: Axis of the weights that its output channels lie on.
        bias: Its constant bias, one value per output channel, where it has one.
        result: The activation that it leaves, after a ReLU or a clip that engines compute in the same step.
        spatial: Whether it is a convolution.
    """

    node: str
    input: str
    weight: str
    axis: int
    bias: str | None
    result: str
    spatial: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """What is quantised.

    Attributes:
        layers: Nodes that compute in int8, by name.
        tensors: Activations that are rounded to 8 bits, in the order of the graph, each with the one whose range it is
            rounded to: itself, or what a MaxPool made it from.
        exact: Names of nodes that read every activation as it was before rounding.
    """

    layers: Mapping[str, Layer]
    tensors: Mapping[str, str]
    exact: frozenset[str]


def layers_of(graph: onnx.GraphProto) -> dict[str, Layer]:
    """Find the nodes that can compute in int8: convolutions and matrix products with constant fp32 weights.

    Products of two activations (attention), softmax and normalisation stay in fp32: their ranges move with the input,
    and 8 bits cost them more than they save.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, Layer] = {}
    readers = consumers_of(graph)
    for node in graph.node:
        axis = _channel_axis(node, constants)
        if axis is None or node.input[0] in constants:
            continue
        channels = constants[node.input[1]].dims[axis]
        found[node.name] = Layer(
            node=node.name,
            input=node.input[0],
            weight=node.input[1],
            axis=axis,
            bias=_bias(node, constants, channels),
            result=_result(node, readers),
            spatial=node.op_type in {"Conv", "ConvTranspose"},
        )
    return found


def placement_of(graph: onnx.GraphProto, *, form: Form, keep: Collection[str]) -> Placement:
    """Decide what is rounded so that each layer but the kept ones computes in int8.

    Every layer's input is rounded. In the form "uint8" a convolution's result is rounded too, since ONNX Runtime has no
    8-bit convolution with an fp32 result, and so is what a MaxPool reads where its result is; matrix products hand on
    fp32, which keeps the logits exact.

    Args:
        graph: A prepared graph.
        form: For whom.
        keep: Names of layers that stay in fp32.
    """
    every = layers_of(graph)
    layers = {name: layer for name, layer in every.items() if name not in keep}
    kept = frozenset(every) - frozenset(layers)
    rounded = {layer.input for layer in layers.values()}
    source: dict[str, str] = {}
    if form == "uint8":
        rounded |= _results(graph, layers.values(), rounded, kept)
        source = _pooled(graph, rounded)
    tensors = {name: _root(name, source) for name in _tensors(graph) if name in rounded | set(source.values())}
    return Placement(layers, tensors, kept)


def measured_tensors(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Name every activation that some placement may round, in the order of the graph."""
    layers = layers_of(graph).values()
    wanted = {layer.input for layer in layers} | {layer.result for layer in layers if layer.spatial}
    wanted |= set(_pooled(graph, wanted).values())
    return tuple(name for name in _tensors(graph) if name in wanted)


def _channel_axis(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> int | None:
    """Give the axis of output channels of a node that can be quantised, none for every other node."""
    weight = constants.get(node.input[1]) if len(node.input) > 1 else None
    if weight is None or weight.data_type != _FLOAT or node.domain not in {"", "ai.onnx"}:
        return None
    settings = {each.name: each.f if each.type == _FLOAT else each.i for each in node.attribute}
    if node.op_type == "Conv":
        return 0
    if (
        node.op_type == "ConvTranspose"
    ):  # its groups share the channel axis, and with it scales that engines lay out apart
        return 1 if settings.get("group", 1) == 1 else None
    if node.op_type == "Gemm":
        plain = settings.get("alpha", 1.0) == 1.0 and settings.get("beta", 1.0) == 1.0 and not settings.get("transA", 0)
        return (0 if settings.get("transB", 0) else 1) if plain else None
    return 1 if node.op_type == "MatMul" and len(weight.dims) == 2 else None


def _bias(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], channels: int) -> str | None:
    name = node.input[2] if len(node.input) > 2 else ""
    return name if name in constants and math.prod(constants[name].dims) == channels else None


def _result(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> str:
    following = readers.get(node.output[0], [])
    if len(following) == 1 and following[0].op_type in _ACTIVATIONS:
        return str(following[0].output[0])
    return str(node.output[0])


def _results(
    graph: onnx.GraphProto, layers: Iterable[Layer], rounded: Collection[str], kept: Collection[str]
) -> set[str]:
    """Find the results of convolutions that nothing rounds yet; what a kept layer reads stays as it is."""
    readers = consumers_of(graph)
    outputs = {value.name for value in graph.output}
    return {
        layer.result
        for layer in layers
        if layer.spatial
        and layer.result not in outputs
        and not any(node.name in kept for node in readers.get(layer.result, []))
        and not _is_rounded_later(layer.result, readers, rounded)
    }


def _pooled(graph: onnx.GraphProto, rounded: Collection[str]) -> dict[str, str]:
    """Tell for each rounded tensor that a MaxPool makes what it is made from."""
    source: dict[str, str] = {}
    for node in reversed(graph.node):
        if node.op_type == "MaxPool" and (node.output[0] in rounded or node.output[0] in source.values()):
            source[node.output[0]] = node.input[0]
    return source


def _root(name: str, source: Mapping[str, str]) -> str:
    while name in source:
        name = source[name]
    return name


def _is_rounded_later(name: str, readers: Mapping[str, list[onnx.NodeProto]], rounded: Collection[str]) -> bool:
    """Tell whether a tensor is rounded before anything computes with it."""
    if name in rounded:
        return True
    following = readers.get(name, [])
    return bool(following) and all(
        node.op_type in _PASS_THROUGH and _is_rounded_later(node.output[0], readers, rounded) for node in following
    )


def _tensors(graph: onnx.GraphProto) -> list[str]:
    return [value.name for value in graph.input] + [name for node in graph.node for name in node.output]
