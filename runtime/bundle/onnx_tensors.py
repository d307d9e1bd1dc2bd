"""Tensors inside an ONNX model: where their data are, and whether they fill the shape that they claim."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mstedge.errors import BundleError
from mstedge.runtime.bundle.wire import Message

MAX_RANK = 16
MAX_DIMENSION = 1 << 40


@dataclass(frozen=True, slots=True)
class Element:
    """An element type of onnx.proto: its name, size, and the field that holds it where raw_data does not."""

    name: str
    bits: int
    numbers: str
    numbers_per_element: int = 1


ELEMENTS = {
    1: Element("float32", 32, "float_data"),
    2: Element("uint8", 8, "int32_data"),
    3: Element("int8", 8, "int32_data"),
    4: Element("uint16", 16, "int32_data"),
    5: Element("int16", 16, "int32_data"),
    6: Element("int32", 32, "int32_data"),
    7: Element("int64", 64, "int64_data"),
    8: Element("string", 0, "string_data"),
    9: Element("bool", 8, "int32_data"),
    10: Element("float16", 16, "int32_data"),
    11: Element("float64", 64, "double_data"),
    12: Element("uint32", 32, "uint64_data"),
    13: Element("uint64", 64, "uint64_data"),
    14: Element("complex64", 64, "float_data", 2),
    15: Element("complex128", 128, "double_data", 2),
    16: Element("bfloat16", 16, "int32_data"),
    17: Element("float8e4m3fn", 8, "int32_data"),
    18: Element("float8e4m3fnuz", 8, "int32_data"),
    19: Element("float8e5m2", 8, "int32_data"),
    20: Element("float8e5m2fnuz", 8, "int32_data"),
    21: Element("uint4", 4, "int32_data"),
    22: Element("int4", 4, "int32_data"),
    23: Element("float4e2m1", 4, "int32_data"),
    24: Element("float8e8m0", 8, "int32_data"),
    25: Element("uint2", 2, "int32_data"),
    26: Element("int2", 2, "int32_data"),
}
_NUMBER_FIELDS = frozenset(element.numbers for element in ELEMENTS.values())


def check_tensor(tensor: Message) -> int:
    """Check one tensor of a graph.

    Args:
        tensor: The parsed TensorProto.

    Returns:
        Bytes that it takes in memory.

    Raises:
        BundleError: Its data are in another file, are not where its type keeps them, or do not fill its shape.
    """
    name = tensor.get("name", [""])[0]
    where = f"the tensor {name[:80]!r}"
    if tensor.get("external_data") or tensor.get("data_location", [0])[0]:
        raise BundleError(
            f"{where} keeps its data in another file (external data)", hint="export the model as one file"
        )
    code = tensor.get("data_type", [0])[0]
    element = ELEMENTS.get(code)
    if element is None:
        raise BundleError(f"{where} has the unknown element type {code}")
    elements = _elements(tensor.get("dims", []), where)
    _check_data(tensor, element, elements, where)
    return math.ceil(elements * element.bits / 8) + sum(len(content) for content in tensor.get("string_data", []))


def _elements(dims: list[int], where: str) -> int:
    if len(dims) > MAX_RANK or any(size > MAX_DIMENSION for size in dims):
        raise BundleError(f"{where} has {len(dims)} dimensions {dims[:MAX_RANK]}: negative, too many or too large")
    return math.prod(dims)


def _check_data(tensor: Message, element: Element, elements: int, where: str) -> None:
    """Require that the data are in one place and fill the shape exactly."""
    present = sorted(name for name in _NUMBER_FIELDS if tensor.get(name))
    if "raw_data" in tensor:
        found, expected, unit = len(tensor["raw_data"][0]), math.ceil(elements * element.bits / 8), "bytes"
        misplaced = bool(present) or element.numbers == "string_data"
    else:
        values = tensor.get(element.numbers, [])
        found, unit = (len(values) if element.numbers == "string_data" else sum(values)), "numbers"
        expected = math.ceil(elements * min(element.bits or 8, 8) / 8) * element.numbers_per_element
        misplaced = present not in ([], [element.numbers])
    if misplaced or found != expected:
        raise BundleError(
            f"{where} ({element.name}) has {found} {unit} of data in {present or 'raw_data'}: expected {expected}"
        )
