"""The fields of onnx.proto (IR versions 3 to 14) that a bundle's model may use, and those that are refused by name."""

from __future__ import annotations

from typing import Any

from mstedge.runtime.bundle.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Convert,
    Field,
    Grammar,
    count_packed,
    count_packed_varints,
    text,
)


def _same(value: Any) -> Any:
    return value


def _one(_value: Any) -> int:
    return 1


_INTEGER: dict[int, Convert] = {VARINT: _same}
_TEXT: dict[int, Convert] = {LENGTH: text}
_BYTES: dict[int, Convert] = {LENGTH: _same}
_FLOAT: dict[int, Convert] = {FIXED32: _one}
_COUNT_VARINTS: dict[int, Convert] = {VARINT: _one, LENGTH: count_packed_varints}
_COUNT_FLOATS: dict[int, Convert] = {FIXED32: _one, LENGTH: count_packed(4)}
_COUNT_DOUBLES: dict[int, Convert] = {FIXED64: _one, LENGTH: count_packed(8)}
_REFUSED: dict[int, Convert] = {}


def _bytes(name: str) -> Field:
    return Field(name, _BYTES, many=True)


def _message(name: str, kind: str, *, many: bool = False) -> Field:
    return Field(name, {}, message=kind, many=many)


ONNX_GRAMMAR: Grammar = {
    "Model": {
        1: Field("ir_version", _INTEGER),
        2: Field("producer_name", _BYTES),
        3: Field("producer_version", _BYTES),
        4: Field("domain", _BYTES),
        5: Field("model_version", _INTEGER),
        6: Field("doc_string", _BYTES),
        7: _message("graph", "Graph"),
        8: _message("opset_import", "OperatorSet", many=True),
        14: _bytes("metadata_props"),
        20: Field("training_info", _REFUSED),
        25: Field("functions", _REFUSED),
        26: Field("configuration", _REFUSED),
    },
    "OperatorSet": {1: Field("domain", _TEXT), 2: Field("version", _INTEGER)},
    "Graph": {
        1: _message("node", "Node", many=True),
        2: Field("name", _BYTES),
        5: _message("initializer", "Tensor", many=True),
        10: Field("doc_string", _BYTES),
        11: _message("input", "Value", many=True),
        12: _message("output", "Value", many=True),
        13: _bytes("value_info"),
        14: _bytes("quantization_annotation"),
        15: Field("sparse_initializer", _REFUSED),
        16: _bytes("metadata_props"),
    },
    "Node": {
        1: _bytes("input"),
        2: _bytes("output"),
        3: Field("name", _BYTES),
        4: Field("op_type", _TEXT),
        5: _message("attribute", "Attribute", many=True),
        6: Field("doc_string", _BYTES),
        7: Field("domain", _TEXT),
        8: Field("overload", _TEXT),
        9: _bytes("metadata_props"),
        10: Field("device_configurations", _REFUSED),
    },
    "Attribute": {
        1: Field("name", _BYTES),
        2: Field("f", _FLOAT),
        3: Field("i", _INTEGER),
        4: Field("s", _BYTES),
        5: _message("t", "Tensor"),
        6: _message("g", "Graph"),
        7: Field("floats", _COUNT_FLOATS, many=True),
        8: Field("ints", _COUNT_VARINTS, many=True),
        9: _bytes("strings"),
        10: _message("tensors", "Tensor", many=True),
        11: _message("graphs", "Graph", many=True),
        13: Field("doc_string", _BYTES),
        14: Field("tp", _BYTES),
        15: _bytes("type_protos"),
        20: Field("type", _INTEGER),
        21: Field("ref_attr_name", _REFUSED),
        22: Field("sparse_tensor", _REFUSED),
        23: Field("sparse_tensors", _REFUSED),
    },
    "Tensor": {
        1: Field("dims", _INTEGER, many=True),
        2: Field("data_type", _INTEGER),
        3: Field("segment", _REFUSED),
        4: Field("float_data", _COUNT_FLOATS, many=True),
        5: Field("int32_data", _COUNT_VARINTS, many=True),
        6: _bytes("string_data"),
        7: Field("int64_data", _COUNT_VARINTS, many=True),
        8: Field("name", _TEXT),
        9: Field("raw_data", _BYTES),
        10: Field("double_data", _COUNT_DOUBLES, many=True),
        11: Field("uint64_data", _COUNT_VARINTS, many=True),
        12: Field("doc_string", _BYTES),
        13: _bytes("external_data"),
        14: Field("data_location", _INTEGER),
        16: _bytes("metadata_props"),
    },
    "Value": {
        1: Field("name", _TEXT),
        2: _message("type", "Type"),
        3: Field("doc_string", _BYTES),
        4: _bytes("metadata_props"),
    },
    "Type": {
        1: _message("tensor", "TensorType"),
        4: Field("sequence", _BYTES),
        5: Field("map", _BYTES),
        6: Field("denotation", _BYTES),
        7: Field("opaque", _REFUSED),
        8: Field("sparse_tensor", _REFUSED),
        9: Field("optional", _BYTES),
    },
    "TensorType": {1: Field("elem_type", _INTEGER), 2: _message("shape", "Shape")},
    "Shape": {1: _message("dim", "Dimension", many=True)},
    "Dimension": {1: Field("value", _INTEGER), 2: Field("symbol", _TEXT), 3: Field("denotation", _BYTES)},
}
