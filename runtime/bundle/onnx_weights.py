"""Which element types the products of a graph have their weights in: what proves the precision that it claims."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.runtime.bundle.onnx_tensors import ELEMENTS

if TYPE_CHECKING:
    from mstedge.runtime.bundle.wire import Message

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MOVES = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_FOLLOWED = _MOVES | {"Cast", "DequantizeLinear", "QuantizeLinear"}
_MAX_STEPS = 16


@dataclass(frozen=True, slots=True)
class _Graph:
    """What can be asked of a graph.

    Attributes:
        constants: Element type and number of elements by name, of initialisers and of Constant nodes.
        makers: The node that makes a value, by the value's name.
    """

    constants: dict[str, tuple[str, int]]
    makers: dict[str, Message]


@dataclass(frozen=True, slots=True)
class _Weight:
    """A constant that a product takes.

    Attributes:
        kind: Its element type.
        elements: How many it has.
        dequantised: Whether it is dequantised on the way.
    """

    kind: str
    elements: int
    dequantised: bool


def weights_by_type(graph: Message) -> dict[str, int]:
    """Count the weights that Conv, ConvTranspose, Gemm and MatMul multiply by, by the type that they multiply in.

    A weight that is cast counts with the type that it is cast to. One that is dequantised counts with its stored type
    where the value that it is multiplied with is dequantised as well, and as float32 otherwise: without quantised
    activations the product is one of floats. A weight that several products share counts once for each.

    Args:
        graph: The parsed GraphProto, its tensors checked; nested graphs are not looked into.

    Returns:
        Elements by the name of their type.
    """
    nodes = graph.get("node", [])
    known = _Graph(_constants(graph), {name: node for node in nodes for name in _texts(node, "output")})
    counts: dict[str, int] = {}
    for node in nodes:
        if _kind(node) in _PRODUCTS:
            operands = _texts(node, "input")[:2]
            for name, other in zip(operands, reversed(operands), strict=True):
                weight = _weight(known, name)
                if weight is not None:
                    kind = weight.kind if not weight.dequantised or _is_dequantised(known, other) else "float32"
                    counts[kind] = counts.get(kind, 0) + weight.elements
    return dict(sorted(counts.items()))


def _weight(graph: _Graph, name: str) -> _Weight | None:
    """Follow a value back to the constant that it is."""
    cast: str | None = None
    dequantised = False
    for _ in range(_MAX_STEPS):
        if name in graph.constants:
            kind, elements = graph.constants[name]
            return _Weight(cast or kind, elements, dequantised=dequantised)
        node = graph.makers.get(name)
        if node is None or _kind(node) not in _FOLLOWED or not node.get("input"):
            return None
        if _kind(node) == "DequantizeLinear":
            dequantised = True
        elif _kind(node) == "QuantizeLinear":
            cast = _quantised_type(graph, node)
        elif _kind(node) == "Cast" and not dequantised:
            cast = cast or _cast_type(node)
        name = _texts(node, "input")[0]
    return None


def _is_dequantised(graph: _Graph, name: str) -> bool:
    """Whether a value was quantised until the moment that it is used; moving its elements changes nothing."""
    for _ in range(_MAX_STEPS):
        node = graph.makers.get(name)
        if node is None or _kind(node) not in _MOVES or not node.get("input"):
            return node is not None and _kind(node) == "DequantizeLinear"
        name = _texts(node, "input")[0]
    return False


def _constants(graph: Message) -> dict[str, tuple[str, int]]:
    found = {tensor.get("name", [""])[0]: _constant(tensor) for tensor in graph.get("initializer", [])}
    for node in graph.get("node", []):
        tensors = [tensor for attribute in node.get("attribute", []) for tensor in attribute.get("t", [])]
        if _kind(node) == "Constant" and tensors:
            found.update(dict.fromkeys(_texts(node, "output"), _constant(tensors[0])))
    return found


def _constant(tensor: Message) -> tuple[str, int]:
    return ELEMENTS[tensor["data_type"][0]].name, math.prod(tensor.get("dims", []))


def _cast_type(node: Message) -> str:
    for attribute in node.get("attribute", []):
        if _texts(attribute, "name") == ["to"] and "i" in attribute and attribute["i"][0] in ELEMENTS:
            return ELEMENTS[attribute["i"][0]].name
    return "unknown"


def _quantised_type(graph: _Graph, node: Message) -> str:
    """Type that a QuantizeLinear gives: that of its zero point; without one it is uint8."""
    inputs = _texts(node, "input")
    return graph.constants.get(inputs[2], ("uint8", 0))[0] if len(inputs) > 2 else "uint8"


def _kind(node: Message) -> str:
    return str(node.get("op_type", [""])[0])


def _texts(message: Message, field: str) -> list[str]:
    return [bytes(name).decode("utf-8", "backslashreplace") for name in message.get(field, [])]
