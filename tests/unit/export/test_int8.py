"""int8: which operators, which types, how small, and that the answers stay."""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import onnx
import pytest
from every_student import STUDENTS, graph_of
from graph_answers import answers
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mstedge.errors import CheckFailedError, UsageError
from mstedge.export.quantise.calibration import METHODS, CalibrationMethod
from mstedge.export.quantise.graph_bytes import model_from_bytes
from mstedge.export.quantise.int8 import Form, int8_from_graph, prepared, quantisable_nodes
from mstedge.export.quantise.integers import int8_weights, int32_bias, room_for_bias, uint8_parameters, weight_scales
from mstedge.export.quantise.ranges import ActivationRanges, ranges_of
from mstedge.export.quantise.thresholds import entropy_bins, percentile_bins
from mstedge.runtime.bundle import check_onnx

FORMS: tuple[Form, ...] = ("uint8", "symmetric")
HARDEST = {"segmenter": 0.97}


@cache
def ranges_for(name: str, form: Form, method: CalibrationMethod = "minmax", rows: int = 64) -> ActivationRanges:
    features = STUDENTS[name].rows(rows, seed=3)
    return ranges_of(prepared(graph_of(name)), features, method, symmetric=form == "symmetric")


@cache
def quantised(name: str, form: Form) -> bytes:
    return int8_from_graph(prepared(graph_of(name)), ranges_for(name, form), form=form)


def constants_of(graph: bytes) -> dict[str, NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(graph).graph.initializer}


def nodes_of(graph: bytes, *kinds: str) -> list[onnx.NodeProto]:
    return [node for node in onnx.load_from_string(graph).graph.node if node.op_type in kinds]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STUDENTS)
def test_answers_stay_in_both_engines(name: str, form: Form) -> None:
    case, graph = STUDENTS[name], quantised(name, form)
    features = case.rows(100, seed=11)
    expected = answers(graph_of(name), case, features, backend="onnxruntime", precision="fp32")
    for backend in ("onnxruntime", "openvino"):
        found = answers(graph, case, features, backend=backend, precision="int8")
        assert (found.argmax(1) == expected.argmax(1)).mean() >= HARDEST.get(name, 0.98)
        noise = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert 20 * np.log10(noise) < -20
        assert noise > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STUDENTS)
def test_every_layer_with_weights_is_int8_and_the_rest_is_not(name: str, form: Form) -> None:
    graph = quantised(name, form)
    summary = check_onnx(graph)
    assert set(summary.weights) == {"int8"}
    assert set(summary.operators) - set(check_onnx(prepared(graph_of(name))).operators) == {
        "QuantizeLinear",
        "DequantizeLinear",
    }
    assert summary.outputs == check_onnx(graph_of(name)).outputs


def test_products_of_two_activations_stay_in_fp32() -> None:
    layers = quantisable_nodes(prepared(graph_of("attention")))
    ready = onnx.load_from_string(prepared(graph_of("attention"))).graph
    constants = {tensor.name for tensor in ready.initializer}
    products = [node for node in ready.node if node.op_type == "MatMul" and node.input[1] not in constants]
    assert len(products) == 4
    assert not {node.name for node in products} & set(layers)
    restored = {node.output[0] for node in nodes_of(quantised("attention", "uint8"), "DequantizeLinear")}
    names = {node.name for node in products}
    for node in nodes_of(quantised("attention", "uint8"), "MatMul", "Softmax", "LayerNormalization"):
        if node.op_type == "Softmax" or node.name in names:
            assert not set(node.input) & restored


@pytest.mark.parametrize(("form", "ratio"), [("uint8", 3.35), ("symmetric", 3.5)])
@pytest.mark.parametrize("name", ["cnn-audio", "temporal"])
def test_a_small_student_becomes_several_times_smaller(name: str, form: Form, ratio: float) -> None:
    assert len(graph_of(name)) / len(quantised(name, form)) >= ratio


@pytest.mark.parametrize("form", FORMS)
def test_the_same_graph_gives_the_same_bytes_without_a_trace_of_the_tool(form: Form) -> None:
    ready = prepared(graph_of("cnn-audio"))
    again = ranges_of(ready, STUDENTS["cnn-audio"].rows(64, seed=3), "minmax", symmetric=form == "symmetric")
    assert int8_from_graph(ready, again, form=form) == quantised("cnn-audio", form)
    assert prepared(graph_of("cnn-audio")) == ready
    model = onnx.load_from_string(quantised("cnn-audio", form))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert not model.metadata_props
    assert not model.graph.value_info
    assert b"onnx.quant" not in model.SerializeToString()


@pytest.mark.parametrize("form", FORMS)
def test_tensors_and_nodes_of_the_fp32_graph_keep_their_names(form: Form) -> None:
    ready = onnx.load_from_string(prepared(graph_of("attention"))).graph
    graph = onnx.load_from_string(quantised("attention", form)).graph
    assert {name for node in ready.node for name in node.output} <= {
        name for node in graph.node for name in node.output
    }
    assert {node.name for node in ready.node} <= {node.name for node in graph.node}


def test_symmetric_has_neither_int32_nor_uint8_nor_a_zero_point_other_than_zero() -> None:
    for name in STUDENTS:
        graph = quantised(name, "symmetric")
        constants = constants_of(graph)
        for node in nodes_of(graph, "QuantizeLinear", "DequantizeLinear"):
            kinds = {constants[each].dtype for each in node.input if each in constants}
            assert kinds <= {np.dtype(np.float32), np.dtype(np.int8)}
            assert all(not constants[each].any() for each in node.input[2:])


def test_uint8_has_unsigned_activations_and_int32_biases() -> None:
    graph = quantised("temporal", "uint8")
    constants = constants_of(graph)
    assert {constants[node.input[2]].dtype for node in nodes_of(graph, "QuantizeLinear")} == {np.dtype(np.uint8)}
    restored = {node.output[0]: constants.get(node.input[0]) for node in nodes_of(graph, "DequantizeLinear")}
    for layer in nodes_of(graph, "Conv", "Gemm"):
        weight, bias = (restored[name] for name in layer.input[1:])
        assert weight is not None
        assert bias is not None
        assert (weight.dtype, bias.dtype) == (np.int8, np.int32)


@pytest.mark.parametrize("form", FORMS)
def test_weights_have_one_scale_per_output_channel_and_use_all_their_levels(form: Form) -> None:
    graph = quantised("temporal", form)
    constants = constants_of(graph)
    restored = {node.output[0]: node for node in nodes_of(graph, "DequantizeLinear")}
    for layer in nodes_of(graph, "Conv", "Gemm"):
        node = restored[layer.input[1]]
        axis = next(each.i for each in node.attribute if each.name == "axis")
        levels, scales = constants[node.input[0]], constants[node.input[1]]
        assert scales.shape == (levels.shape[axis],)
        assert len(np.unique(scales)) > 1
        assert (np.abs(levels.astype(int)).reshape(len(scales), -1).max(axis=1) == 127).all()


def test_equal_constants_are_stored_once() -> None:
    for form in FORMS:
        contents = [
            (each.dtype, each.shape, each.tobytes()) for each in constants_of(quantised("attention", form)).values()
        ]
        quantisers = [content for content in contents if content[0] in {np.dtype(np.uint8), np.dtype(np.int8)}]
        assert len(set(quantisers)) == len(quantisers)


def test_onnx_runtime_runs_the_uint8_form_of_a_cnn_in_integers(tmp_path: pytest.TempPathFactory) -> None:
    import onnxruntime

    written = f"{tmp_path}/optimised.onnx"
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath, settings.log_severity_level = written, 3
    onnxruntime.InferenceSession(quantised("cnn-image", "uint8"), settings, providers=["CPUExecutionProvider"])
    found = [node.op_type for node in onnx.load(written).graph.node]
    assert found.count("QLinearConv") == 3
    assert found.count("QGemm") == 2
    assert not {"Conv", "Gemm", "FusedConv", "FusedGemm"} & set(found)


@pytest.mark.parametrize("form", FORMS)
def test_a_kept_layer_computes_in_fp32_on_what_was_not_rounded(form: Form) -> None:
    ready = prepared(graph_of("mlp"))
    name = quantisable_nodes(ready)[1]
    graph = int8_from_graph(ready, ranges_for("mlp", form), form=form, keep=[name])
    (before,) = [node for node in nodes_of(ready, "Gemm") if node.name == name]
    (after,) = [node for node in nodes_of(graph, "Gemm") if node.name == name]
    assert before.input == after.input
    assert set(check_onnx(graph).weights) == {"int8", "float32"}


def test_keeping_every_layer_gives_the_fp32_answers() -> None:
    case, ready = STUDENTS["temporal"], prepared(graph_of("temporal"))
    graph = int8_from_graph(ready, ranges_for("temporal", "uint8"), form="uint8", keep=quantisable_nodes(ready))
    features = case.rows(10)
    expected = answers(graph_of("temporal"), case, features, backend="onnxruntime", precision="fp32")
    np.testing.assert_allclose(
        answers(graph, case, features, backend="onnxruntime", precision="fp32"), expected, rtol=1e-4, atol=1e-4
    )


def test_what_cannot_be_kept_is_an_error() -> None:
    with pytest.raises(UsageError, match="no node 'node_relu' that could be quantised"):
        int8_from_graph(prepared(graph_of("mlp")), ranges_for("mlp", "uint8"), form="uint8", keep=["node_relu"])
    with pytest.raises(UsageError, match="do not fit the form 'symmetric'"):
        int8_from_graph(prepared(graph_of("mlp")), ranges_for("mlp", "uint8"), form="symmetric")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_a_prime_number_of_rows_and_says_nothing(
    method: CalibrationMethod, form: Form, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = ranges_for("temporal", form, method, 37)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    widest = ranges_for("temporal", form, "minmax", 37)
    for name, (low, high) in found.values.items():
        assert widest.values[name][0] <= low <= 0 <= high <= widest.values[name][1]
        assert high > 0
        assert form == "uint8" or low == -high
    assert (found.values == widest.values) == (method == "minmax")


def test_a_graph_that_overflows_by_itself_is_named() -> None:
    features = STUDENTS["mlp"].rows(5)
    features[3, 0, 0] = np.inf
    with pytest.raises(CheckFailedError, match="not finite on calibration rows"):
        ranges_of(prepared(graph_of("mlp")), features, "minmax", symmetric=False)


def test_rare_far_values_are_clipped_by_entropy_and_percentile() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=100_000))
    counts = np.histogram([*values, 40.0], bins=2048, range=(0.0, 40.0))[0]
    first, last = percentile_bins(counts, 0.9999)
    assert first == 0
    assert 3.0 < last * 40 / 2048 < 5.0
    assert 3.0 < entropy_bins(counts) * 40 / 2048 < 8.0


def test_nothing_is_clipped_where_every_value_is_as_frequent() -> None:
    counts = np.full(2048, 7)
    assert entropy_bins(counts) == 2048
    assert percentile_bins(counts, 1.0) == (0, 2048)
    assert entropy_bins(np.zeros(2048, dtype=np.int64)) == 2048


@pytest.mark.parametrize(("low", "high"), [(-3.9, 4.0), (0.0, 6.0), (-1e-3, 5.0), (-2.0, 0.0), (0.0, 0.0)])
def test_uint8_holds_zero_exactly_and_both_ends(low: float, high: float) -> None:
    scale, zero = uint8_parameters(low, high)
    levels = np.clip(np.rint(np.array([low, 0.0, high]) / scale) + zero, 0, 255)
    np.testing.assert_allclose((levels - zero) * scale, [low, 0.0, high], atol=float(scale))
    assert (levels[1] - zero) * scale == 0.0


def test_a_bias_that_would_not_fit_into_32_bits_widens_its_channel_only() -> None:
    weights = np.array([[1e-9, -1e-9], [0.5, 1.0]], dtype=np.float32)
    bias = np.array([3.0, 3.0], dtype=np.float32)
    narrow = weight_scales(weights, 0)
    wide = room_for_bias(narrow, bias, np.float32(0.01))
    assert wide[0] > narrow[0]
    assert wide[1] == narrow[1]
    steps = wide * np.float32(0.01)
    np.testing.assert_allclose(int32_bias(bias, steps) * steps.astype(np.float64), bias, rtol=1e-3)
    assert int8_weights(weights, wide, 0)[1].tolist() == [64, 127]


def test_batch_norm_is_folded_and_an_old_graph_is_brought_up_to_date() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    per_channel = [np.array([1.0, 2.0, 0.5, 3.0], dtype=np.float32) + number for number in range(4)]
    constants = [numpy_helper.from_array(weights, "w")]
    constants += [numpy_helper.from_array(values, f"n{number}") for number, values in enumerate(per_channel)]
    nodes = [
        helper.make_node("Conv", ["sense", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "n0", "n1", "n2", "n3"], ["logits"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, 1, ["batch", size, 8, 8]) for name, size in (("sense", 3), ("logits", 4))
    ]
    graph = helper.make_graph(nodes, "old", ends[:1], ends[1:], constants)
    old = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7).SerializeToString()
    ready = prepared(old)
    assert check_onnx(ready).opset == 20
    assert [node.op_type for node in onnx.load_from_string(ready).graph.node] == ["Conv"]
    assert len({node.name for node in model_from_bytes(old).graph.node}) == 2
    features = np.random.default_rng(1).normal(size=(9, 3, 8, 8)).astype(np.float32)
    quantised_graph = int8_from_graph(ready, ranges_of(ready, features, "minmax", symmetric=True), form="symmetric")
    assert set(check_onnx(quantised_graph).weights) == {"int8"}
