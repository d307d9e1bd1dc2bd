"""Graphs between bytes and protobuf: every node named, nodes in order, the same bytes each time."""

from __future__ import annotations

import heapq

import onnx

from mstedge.errors import CheckFailedError

OLDEST_OPSET = 13
NEW_OPSET = 20


def model_from_bytes(graph: bytes) -> onnx.ModelProto:
    """Read a graph and give every node without a name of its own one: its operator and its place.

    Args:
        graph: An ONNX model that follows the limits of bundles.

    Returns:
        The model, with standard operators of opset 13 or newer; older ones cannot be quantised per channel.

    Raises:
        CheckFailedError: It is older and cannot be converted.
    """
    model = onnx.load_from_string(graph)
    if model.opset_import[0].version < OLDEST_OPSET:
        model = _newer(model)
    taken: set[str] = set()
    for place, node in enumerate(model.graph.node):
        while not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{place}"
        taken.add(node.name)
    return model


def bytes_from_model(model: onnx.ModelProto) -> bytes:
    """Write a model without what tells about the machine or the tool that made it, nodes in topological order.

    Raises:
        CheckFailedError: It is not a valid ONNX model.
    """
    for field in ("doc_string", "metadata_props", "functions", "training_info"):
        model.ClearField(field)
    _keep_standard_domain(model)
    model.producer_name, model.producer_version = "mstedge", ""
    graph = model.graph
    graph.name = "student"
    for field in ("doc_string", "metadata_props", "value_info"):
        graph.ClearField(field)
    for item in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    _sort(graph)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise CheckFailedError(f"the converted graph is not valid ONNX: {str(problem).splitlines()[0]}") from problem
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def consumers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """List the nodes that read each tensor, in order; nodes of nested graphs are not among them."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    return found


def names_in_nested_graphs(graph: onnx.GraphProto) -> set[str]:
    """Collect every tensor name that graphs inside nodes mention: what they may read from outside."""
    found: set[str] = set()
    for node in graph.node:
        for attribute in node.attribute:
            for nested in [attribute.g, *attribute.graphs]:
                found.update(name for inner in nested.node for name in inner.input)
                found.update(value.name for value in nested.output)
                found |= names_in_nested_graphs(nested)
    return found


def _newer(model: onnx.ModelProto) -> onnx.ModelProto:
    version = model.opset_import[0].version
    try:
        return onnx.version_converter.convert_version(model, NEW_OPSET)
    except Exception as problem:  # the converter's errors share no base class
        raise CheckFailedError(
            f"the model uses operator set {version}, which is too old for this precision, and it cannot be converted "
            f"to {NEW_OPSET}: {str(problem).splitlines()[0]}",
            hint=f"export it with operator set {OLDEST_OPSET} or newer",
        ) from problem


def _keep_standard_domain(model: onnx.ModelProto) -> None:
    """Drop imports that no node uses; ONNX Runtime adds all that it knows to what it writes."""
    version = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    model.ClearField("opset_import")
    model.opset_import.append(onnx.helper.make_opsetid("", version))


def _sort(graph: onnx.GraphProto) -> None:
    """Put producers before consumers, keeping the order otherwise."""
    nodes = list(graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output}
    needs = [{makers[name] for name in _inputs_with_nested(node) if name in makers} for node in nodes]
    waiters: list[list[int]] = [[] for _ in nodes]
    for place, wanted in enumerate(needs):
        for maker in wanted:
            waiters[maker].append(place)
    ready = [place for place, wanted in enumerate(needs) if not wanted]
    ordered: list[onnx.NodeProto] = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(nodes[place])
        for waiter in waiters[place]:
            needs[waiter].discard(place)
            if not needs[waiter]:
                heapq.heappush(ready, waiter)
    if len(ordered) < len(nodes):
        raise CheckFailedError("the converted graph has a cycle")
    graph.ClearField("node")
    graph.node.extend(ordered)


def _inputs_with_nested(node: onnx.NodeProto) -> set[str]:
    return set(node.input) | names_in_nested_graphs(onnx.GraphProto(node=[node]))
