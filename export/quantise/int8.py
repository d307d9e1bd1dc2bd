"""int8: a graph whose layers are surrounded by QuantizeLinear and DequantizeLinear, which every engine fuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mstedge.errors import UsageError, nearest
from mstedge.export.quantise.graph_bytes import bytes_from_model, names_in_nested_graphs
from mstedge.export.quantise.integers import (
    int8_weights,
    int32_bias,
    room_for_bias,
    symmetric_scale,
    uint8_parameters,
    weight_scales,
)
from mstedge.export.quantise.placement import Form, Layer, Placement, layers_of, placement_of
from mstedge.export.quantise.prepare import prepared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mstedge.export.quantise.ranges import ActivationRanges

__all__ = ["Form", "int8_from_graph", "prepared", "quantisable_nodes"]


def quantisable_nodes(prepared: bytes) -> tuple[str, ...]:
    """Name the nodes of a prepared graph that can compute in int8, in the order of the graph."""
    return tuple(layers_of(onnx.load_from_string(prepared).graph))


def int8_from_graph(prepared: bytes, ranges: ActivationRanges, *, form: Form, keep: Sequence[str] = ()) -> bytes:
    """Quantise a prepared graph: weights per output channel, activations per tensor.

    The form "uint8" is what ONNX Runtime runs fastest on x86: unsigned activations with a zero point, int32 biases. The
    form "symmetric" is what TensorRT and OpenVINO take: signed activations around zero, fp32 biases. Weights are int8
    around zero in both. Nodes, and tensors that the fp32 graph has too, keep their names.

    Args:
        prepared: Result of `prepared`.
        ranges: Of its activations, symmetric where the form is.
        form: For whom.
        keep: Names of layers that stay in fp32; they read what they read before.

    Returns:
        A deterministic graph of standard operators.

    Raises:
        UsageError: A kept node cannot be quantised anyway, or the ranges are for the other form.
    """
    model = onnx.load_from_string(prepared)
    known = list(layers_of(model.graph))
    for name in keep:
        if name not in known:
            raise UsageError(f"the graph has no node {name!r} that could be quantised", hint=nearest(name, known))
    if ranges.symmetric != (form == "symmetric"):
        raise UsageError(f"ranges with symmetric={ranges.symmetric} do not fit the form {form!r}")
    placement = placement_of(model.graph, form=form, keep=keep)
    _Writer(model.graph, ranges.values, form).write(placement)
    return bytes_from_model(model)


@dataclass(slots=True)
class _Writer:
    """Rewrites one graph in place; equal constants are stored once, under the shortest names that are free."""

    graph: onnx.GraphProto
    ranges: Mapping[str, tuple[float, float]]
    form: Form
    scales: dict[str, np.float32] = field(default_factory=dict)
    stored: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def write(self, placement: Placement) -> None:
        self.taken = {name for node in self.graph.node for name in (*node.input, *node.output, node.name)}
        self.taken |= {tensor.name for tensor in self.graph.initializer}
        pairs = {name: self._pair(name, source) for name, source in placement.tensors.items()}
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        weights = [node for layer in placement.layers.values() for node in self._layer(layer, constants)]
        for node in self.graph.node:
            if node.name not in placement.exact:
                for place, name in enumerate(node.input):
                    node.input[place] = pairs[name][1].output[0] if name in pairs else name
        self.graph.node.extend([*weights, *(each for pair in pairs.values() for each in pair)])
        _drop_unused(self.graph)

    def _pair(self, name: str, source: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
        """Round an activation: QuantizeLinear, DequantizeLinear."""
        scale, zero = self._parameters(source)
        self.scales[name] = scale
        constants = [self._constant(np.array(scale)), self._constant(np.array(zero))]
        # Zero is what a missing zero point means, but ONNX Runtime fuses matrix products only where it is written out.
        needed = constants if self.form == "uint8" else constants[:1]
        rounded, restored = self._free("q"), self._free("d")
        return (
            helper.make_node("QuantizeLinear", [name, *constants], [rounded], rounded),
            helper.make_node("DequantizeLinear", [rounded, *needed], [restored], restored),
        )

    def _parameters(self, name: str) -> tuple[np.float32, np.uint8 | np.int8]:
        low, high = self.ranges[name]
        return uint8_parameters(low, high) if self.form == "uint8" else (symmetric_scale(high), np.int8(0))

    def _layer(self, layer: Layer, constants: Mapping[str, NDArray[np.float32]]) -> list[onnx.NodeProto]:
        """Store a layer's weights, and its bias where the form wants that, as integers."""
        weights = constants[layer.weight]
        scales = weight_scales(weights, layer.axis)
        restored = []
        if layer.bias and self.form == "uint8":
            scale = self.scales[layer.input]
            bias = np.broadcast_to(constants[layer.bias].reshape(-1), scales.shape)
            scales = room_for_bias(scales, bias, scale)
            steps = scales * scale
            restored.append(self._restored(layer, 2, [int32_bias(bias, steps), steps], 0))
        stored: list[NDArray[np.generic]] = [int8_weights(weights, scales, layer.axis), scales]
        if self.form == "uint8" and not layer.spatial:
            stored.append(np.zeros(scales.shape, dtype=np.int8))
        return [*restored, self._restored(layer, 1, stored, layer.axis)]

    def _restored(self, layer: Layer, place: int, stored: list[NDArray[np.generic]], axis: int) -> onnx.NodeProto:
        """Put integers and a DequantizeLinear where a layer reads a constant."""
        node = next(each for each in self.graph.node if each.name == layer.node)
        node.input[place] = name = self._free("d")
        return helper.make_node("DequantizeLinear", [self._constant(each) for each in stored], [name], name, axis=axis)

    def _constant(self, values: NDArray[np.generic] | np.ndarray) -> str:
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self.stored:
            self.stored[key] = self._free("c")
            self.graph.initializer.append(
                numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), self.stored[key])
            )
        return self.stored[key]

    def _free(self, letter: str) -> str:
        number = 0
        while f"{letter}{number}" in self.taken:
            number += 1
        self.taken.add(f"{letter}{number}")
        return f"{letter}{number}"


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    used |= names_in_nested_graphs(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)
