"""What a graph multiplies by, seen without the onnx package: the proof of the precision that a bundle claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mstedge.runtime.bundle import check_onnx

WEIGHT = np.ones((6, 4), np.float32)


def tensor(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def weights_of(nodes: Sequence[onnx.NodeProto], initialisers: Sequence[onnx.TensorProto]) -> dict[str, int]:
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        list(initialisers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8)
    return check_onnx(model.SerializeToString()).weights


def quantised(name: str, made: str) -> onnx.NodeProto:
    return helper.make_node("QuantizeLinear", [name, "scale", "zero"], [made])


def dequantised(name: str, made: str) -> onnx.NodeProto:
    return helper.make_node("DequantizeLinear", [name, "scale", "zero"], [made])


SCALES = [tensor("scale", np.float32(0.1)), tensor("zero", np.int8(0))]
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])


def test_weights_count_by_their_type() -> None:
    assert weights_of([PRODUCT], [tensor("w", WEIGHT)]) == {"float32": 24}
    assert weights_of([PRODUCT], [tensor("w", WEIGHT.astype(np.float16))]) == {"float16": 24}


def test_constants_and_biases() -> None:
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    assert weights_of([gemm], [tensor("w", WEIGHT), tensor("b", np.ones(4, np.float32))]) == {"float32": 24}
    constant = helper.make_node("Constant", [], ["w"], value=tensor("", WEIGHT))
    assert weights_of([constant, PRODUCT], []) == {"float32": 24}
    turned = helper.make_node("Transpose", ["v"], ["w"])
    assert weights_of([turned, PRODUCT], [tensor("v", WEIGHT.T.copy())]) == {"float32": 24}


def test_a_cast_counts_as_what_is_computed_in() -> None:
    cast = helper.make_node("Cast", ["v"], ["w"], to=TensorProto.FLOAT)
    assert weights_of([cast, PRODUCT], [tensor("v", WEIGHT.astype(np.float16))]) == {"float32": 24}
    cast = helper.make_node("Cast", ["v"], ["w"], to=TensorProto.FLOAT16)
    assert weights_of([cast, PRODUCT], [tensor("v", WEIGHT)]) == {"float16": 24}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_int8_needs_quantised_values_on_both_sides(dtype: Any) -> None:
    stored = [tensor("v", WEIGHT.astype(dtype)), *SCALES]
    weight_only = [dequantised("v", "w"), PRODUCT]
    assert weights_of(weight_only, stored) == {"float32": 24}
    both = [
        quantised("x", "xq"),
        dequantised("xq", "xd"),
        dequantised("v", "w"),
        helper.make_node("MatMul", ["xd", "w"], ["y"]),
    ]
    assert weights_of(both, stored) == {np.dtype(dtype).name: 24}
    moved = [
        *both[:3],
        helper.make_node("Flatten", ["xd"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    assert weights_of(moved, stored) == {np.dtype(dtype).name: 24}


def test_weights_that_the_graph_quantises_itself() -> None:
    nodes = [
        *(quantised("x", "xq"), dequantised("xq", "xd"), quantised("v", "vq"), dequantised("vq", "w")),
        helper.make_node("MatMul", ["xd", "w"], ["y"]),
    ]
    assert weights_of(nodes, [tensor("v", WEIGHT), *SCALES]) == {"int8": 24}


def test_products_of_two_values_have_no_weights() -> None:
    twice = [helper.make_node("Add", ["x", "x"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    assert weights_of(twice, []) == {}


def test_a_weight_that_two_products_share_counts_for_both() -> None:
    square = tensor("w", np.ones((6, 6), np.float32))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("MatMul", ["t", "w"], ["y"])]
    assert weights_of(nodes, [square]) == {"float32": 72}


def test_convolutions_count_and_other_constants_do_not() -> None:
    kernel = tensor("w", np.ones((4, 6, 3), np.float32))
    conv = helper.make_node("Conv", ["x", "w"], ["c"])
    added = helper.make_node("Add", ["c", "big"], ["y"])
    assert weights_of([conv, added], [kernel, tensor("big", np.ones((50, 50), np.float32))]) == {"float32": 72}


def test_a_circle_and_missing_inputs_end() -> None:
    circle = [
        helper.make_node("Identity", ["b"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("MatMul", ["x", "a"], ["y"]),
        helper.make_node("DequantizeLinear", [], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["z"]),
        helper.make_node("MatMul", [], ["q"]),
        helper.make_node("Conv", ["x"], ["r"]),
    ]
    assert weights_of(circle, []) == {}
