"""Changes that make a graph from elsewhere one of ours; that they change no answer is proved by running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from mstedge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ENDINGS = ("Softmax", "LogSoftmax")


def strip_ending(graph: onnx.GraphProto, source: str) -> str | None:
    """Take a final softmax away: it is no part of the network, and probabilities hide what logits show.

    Args:
        graph: A graph with one output [batch, classes]; changed in place.
        source: Its file, for messages.

    Returns:
        Operator that was taken away, if any.

    Raises:
        UsageError: It ends in something that is neither logits nor a softmax over the classes.
    """
    output = graph.output[0].name
    last = next((node for node in graph.node if output in node.output), None)
    if last is None:
        raise UsageError(f"{source}: no node makes its output {output!r}")
    if last.op_type == "Sigmoid":
        raise UsageError(
            f"{source}: ends in Sigmoid, several answers at once: expected one class per input",
            hint="a classifier for mstedge gives one logit per class",
        )
    if last.op_type not in _ENDINGS:
        return None
    axis = next((attribute.i for attribute in last.attribute if attribute.name == "axis"), -1)
    made = {name for node in graph.node for name in node.output}
    if axis not in {-1, 1} or last.input[0] not in made:
        raise UsageError(
            f"{source}: ends in {last.op_type} over axis {axis}, which cannot be taken away",
            hint="export the model so that its output is the logits",
        )
    graph.node.remove(last)
    graph.output[0].name = last.input[0]
    return str(last.op_type)


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values other names, in nested graphs, too; whatever has such a name already makes way.

    Args:
        graph: Changed in place.
        names: New name by old name.
    """
    used = _value_names(graph)
    mapping = dict(names)
    for name in names.values():
        if name in used and name not in names:
            mapping[name] = _free_name(name, used)
    for each in _graphs(graph):
        for value in [*each.input, *each.output, *each.initializer]:
            value.name = mapping.get(value.name, value.name)
        for node in each.node:
            for values in (node.input, node.output):
                values[:] = [mapping.get(name, name) for name in values]


def free_reshapes(graph: onnx.GraphProto, fixed_rows: int) -> None:
    """Let every Reshape of data keep the batch that it is given: exporters write a fixed one into its sizes.

    Args:
        graph: Changed in place.
        fixed_rows: Number of rows that the graph was written for.
    """
    constants = _constants(graph)
    used = _value_names(graph)
    of_data = {graph.input[0].name}
    for node in graph.node:
        if not of_data.intersection(node.input):
            continue
        of_data.update(node.output)
        sizes = constants.get(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if sizes is None or sizes.ndim != 1 or len(sizes) < 1 or sizes[0] != fixed_rows:
            continue
        # -1 takes what is left over; where it serves already, 0 takes the dimension of the data as it is.
        freed = np.array([0 if -1 in sizes else -1, *sizes[1:]], dtype=np.int64)
        name = _free_name(node.input[1], used)
        used.add(name)
        graph.initializer.append(numpy_helper.from_array(freed, name))
        node.input[1] = name


def declare_shapes(graph: onnx.GraphProto, entry: Sequence[int | str], answer: Sequence[int | str]) -> None:
    """Say what goes in and comes out; whatever was noted for a fixed batch inside is forgotten.

    Args:
        graph: Changed in place.
        entry: Dimensions of the input; a name is a free one.
        answer: Dimensions of the output.
    """
    for each in _graphs(graph):
        each.ClearField("value_info")
    for value, dims in ((graph.input[0], entry), (graph.output[0], answer)):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, TensorProto.FLOAT, list(dims)))


def tensors_of(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Give every tensor that a graph and its nested graphs carry, initialisers and constants."""
    for each in _graphs(graph):
        yield from each.initializer
        for node in each.node:
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                found[node.output[0]] = attribute.t
    return {name: numpy_helper.to_array(each) for name, each in found.items() if each.data_type == TensorProto.INT64}


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graphs(inner)


def _value_names(graph: onnx.GraphProto) -> set[str]:
    found: set[str] = set()
    for each in _graphs(graph):
        found.update(value.name for value in [*each.input, *each.output, *each.initializer])
        for node in each.node:
            found.update(node.input)
            found.update(node.output)
    return found


def _free_name(name: str, used: set[str]) -> str:
    number = 2
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"
