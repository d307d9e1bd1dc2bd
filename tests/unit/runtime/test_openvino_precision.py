"""What OpenVINO computes in: never its own choice, which is bfloat16 where the CPU has it, and which fails parity."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mstedge.export.openvino_ir import ir_from_onnx
from mstedge.export.quantise.half import half_from_graph, last_layer
from mstedge.export.quantise.int8 import int8_from_graph, prepared
from mstedge.export.quantise.ranges import ranges_of
from mstedge.limits import LIMITS, Precision
from mstedge.manifest import Tensor
from mstedge.runtime.backends import BACKENDS, EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.parity.levels import number_checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

AVAILABLE = BACKENDS["openvino"].available()
pytestmark = pytest.mark.skipif(not AVAILABLE.available, reason=AVAILABLE.reason)

WIDTHS = (48, 96, 96, 10)
INPUT = Tensor(name="sense", shape=(WIDTHS[0],))
OUTPUT = Tensor(name="logits", shape=(WIDTHS[-1],))
GENERATOR = np.random.default_rng(0)
WEIGHTS = [(GENERATOR.normal(size=sizes) * np.sqrt(2 / sizes[0])).astype(np.float32) for sizes in pairwise(WIDTHS)]
FEATURES = GENERATOR.normal(size=(200, WIDTHS[0])).astype(np.float32)


def reference_logits() -> NDArray[np.float64]:
    hidden = FEATURES.astype(np.float64)
    for weights in WEIGHTS[:-1]:
        hidden = np.maximum(hidden @ weights.astype(np.float64), 0.0)
    return hidden @ WEIGHTS[-1].astype(np.float64)


def graph() -> bytes:
    """Make a perceptron of three layers."""
    names = ["sense", "first", "second", "logits"]
    nodes = []
    for layer, (source, sink) in enumerate(pairwise(names)):
        is_last = sink == "logits"
        product = sink if is_last else f"{sink}-product"
        nodes.append(helper.make_node("MatMul", [source, f"w{layer}"], [product], f"layer-{layer}"))
        if not is_last:
            nodes.append(helper.make_node("Relu", [product], [sink], f"relu-{layer}"))
    made = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("sense", TensorProto.FLOAT, ["batch", WIDTHS[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", WIDTHS[-1]])],
        [numpy_helper.from_array(weights, f"w{layer}") for layer, weights in enumerate(WEIGHTS)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def int8_graph() -> bytes:
    fp32 = prepared(graph())
    return int8_from_graph(fp32, ranges_of(fp32, FEATURES, "minmax", symmetric=True), form="symmetric")


def loaded(content: bytes, precision: Precision, ir: tuple[bytes, bytes] | None = None) -> EngineSession:
    network = Network(content, INPUT, OUTPUT, precision, ir)
    return backend_named("openvino").load(network, EngineOptions(threads=1))


def failed(logits: NDArray[Any], precision: Precision = "fp32") -> set[str]:
    """Name the limits of level 1 that logits break."""
    found = number_checks(reference_logits().astype(np.float32), logits, LIMITS[precision])
    assert found
    return {check.name for check in found if not check.passed}


def capabilities() -> list[str]:
    from mstedge.runtime.backends.openvino_import import import_openvino

    return list(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def left_alone(content: bytes) -> tuple[NDArray[np.float32], str]:
    """Run a graph as OpenVINO would without being told a precision: logits, and what they were computed in."""
    from mstedge.runtime.backends.openvino_import import import_openvino
    from mstedge.runtime.backends.openvino_reports import arithmetic_of

    core = import_openvino().Core()
    compiled = core.compile_model(core.read_model(content, b""), "CPU", {"INFERENCE_NUM_THREADS": 1})
    return np.array(compiled.create_infer_request().infer([FEATURES])[0]), arithmetic_of(compiled)


def test_left_alone_it_computes_in_bfloat16_and_fails_parity_and_ours_passes():
    if "BF16" not in capabilities():
        pytest.skip(f"this CPU has no bfloat16, so OpenVINO cannot take it: it has {', '.join(capabilities())}")
    silent, silent_arithmetic = left_alone(graph())
    ours = loaded(graph(), "fp32")
    assert "bfloat16" in silent_arithmetic
    assert len(failed(silent)) >= 3
    assert ours.arithmetic == "float32"
    assert failed(ours.run(FEATURES)) == set()


def test_fp32_is_float32_whatever_the_cpu_has():
    session = loaded(graph(), "fp32")
    assert session.arithmetic == "float32"
    assert np.abs(session.run(FEATURES) - reference_logits()).max() < 1e-4


def test_fp16_is_float16_where_the_cpu_has_it_and_float32_elsewhere():
    session = loaded(half_from_graph(graph()), "fp16")
    assert session.arithmetic == ("float16" if "FP16" in capabilities() else "float32")
    assert failed(session.run(FEATURES), "fp16") == set()


def test_what_an_fp16_graph_keeps_in_fp32_is_computed_in_float32():
    if "FP16" not in capabilities():
        pytest.skip(f"this CPU has no float16: it has {', '.join(capabilities())}")
    content = half_from_graph(graph(), keep=[last_layer(graph())])
    assert loaded(content, "fp16").arithmetic == "float16 and float32"


def test_int8_is_int8_and_the_rest_float32():
    session = loaded(int8_graph(), "int8")
    assert "int8" in session.arithmetic.split(" and ")
    assert set(session.arithmetic.split(" and ")) <= {"int8", "float32"}
    assert failed(session.run(FEATURES), "int8") == set()


def test_a_cpu_without_float16_is_told_float32(monkeypatch: pytest.MonkeyPatch):
    from mstedge.runtime.backends import openvino_devices

    told = []
    original = openvino_devices._precision_settings

    class FakeCore:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return ["FP32", "INT8", "BIN", "EXPORT_IMPORT"]

    def without_float16(_core: object, device: str, precision: Precision) -> dict[str, str]:
        told.append(original(FakeCore(), device, precision))
        return told[-1]

    monkeypatch.setattr(openvino_devices, "_precision_settings", without_float16)
    session = loaded(half_from_graph(graph()), "fp16")
    assert told == [{"INFERENCE_PRECISION_HINT": "f32"}]
    assert session.arithmetic == "float32"
    assert failed(session.run(FEATURES), "fp16") == set()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_ir_computes_what_the_onnx_file_does(precision: Precision, rows: int):
    content = {"fp32": graph, "fp16": lambda: half_from_graph(graph()), "int8": int8_graph}[precision]()
    from_onnx, from_ir = loaded(content, precision), loaded(content, precision, ir_from_onnx(content))
    assert from_ir.arithmetic == from_onnx.arithmetic
    np.testing.assert_array_equal(from_ir.run(FEATURES[:rows]), from_onnx.run(FEATURES[:rows]))
