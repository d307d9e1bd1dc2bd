"""What the builder refuses, says and keeps, with the real TensorRT-RTX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from bundle_factory import model_bytes
from onnx import TensorProto, helper, numpy_helper
from real_rtx import rtx_or_skip

from mstedge.engine_recipe import MIB, EngineRecipe
from mstedge.errors import BundleError, CheckFailedError, MachineError
from mstedge.limits import Precision
from mstedge.manifest import Tensor
from mstedge.runtime.backends import Network
from mstedge.runtime.trt.builder import build_engine
from mstedge.runtime.trt.library import TensorRt

INPUT, OUTPUT = Tensor(name="features", shape=(6,)), Tensor(name="logits", shape=(3,))
GENERATOR = np.random.default_rng(4)
WEIGHTS = GENERATOR.normal(size=(3, 6)).astype(np.float32)
BIAS = GENERATOR.normal(size=3).astype(np.float32)
FP32 = model_bytes((6,), WEIGHTS, BIAS)


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    return rtx_or_skip()


def network(graph: bytes = FP32, precision: Precision = "fp32") -> Network:
    return Network(graph, INPUT, OUTPUT, precision)


def quantised(zero: np.ndarray, *, weights_too: bool = True) -> bytes:
    """Surround one product with QuantizeLinear and DequantizeLinear."""
    levels = np.clip(np.rint(WEIGHTS.T / 0.02), -127, 127).astype(np.int8)
    constants = {"scale": np.float32(0.05), "zero": zero, "weight_scale": np.float32(0.02)}
    nodes = [
        helper.make_node("QuantizeLinear", ["features", "scale", "zero"], ["rounded"], "round"),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["seen"], "restore"),
        helper.make_node("DequantizeLinear", ["levels", "weight_scale"], ["restored"], "weights"),
        helper.make_node("MatMul", ["seen", "restored" if weights_too else "plain"], ["logits"], "product"),
    ]
    constants |= {"levels": levels, "plain": WEIGHTS.T}
    return graph_of(nodes if weights_too else [nodes[0], nodes[1], nodes[3]], constants)


def graph_of(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bytes:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


class TestRefuses:
    def test_other_name_than_the_manifest(self, rtx: TensorRt) -> None:
        with pytest.raises(BundleError, match=r"the inputs \['features'\]: the manifest says \['sound'\]"):
            build_engine(rtx, replace(network(), input=Tensor(name="sound", shape=(6,))), EngineRecipe())

    def test_other_shape_than_the_manifest(self, rtx: TensorRt) -> None:
        with pytest.raises(BundleError, match=r"output 'logits' has shape \[\?, 3\]: expected \[batch, 4\]"):
            build_engine(rtx, replace(network(), output=Tensor(name="logits", shape=(4,))), EngineRecipe())

    def test_batch_that_is_frozen(self, rtx: TensorRt) -> None:
        model = onnx.load_from_string(FP32)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        with pytest.raises(BundleError, match=r"input 'features' has shape \[1, 6\]: .*batch of any size"):
            build_engine(rtx, network(model.SerializeToString()), EngineRecipe())

    def test_uint8_activations_by_node_and_reason(self, rtx: TensorRt) -> None:
        graph = quantised(np.uint8(128))
        with pytest.raises(BundleError, match=r"cannot parse the model: node \d+ '\w+' \(\w+Linear\): .*(zero|UInt8)"):
            build_engine(rtx, network(graph, "int8"), EngineRecipe())

    def test_bytes_that_are_no_model(self, rtx: TensorRt) -> None:
        with pytest.raises(BundleError, match=r"cannot parse the model: .*Failed to parse the ONNX model"):
            build_engine(rtx, network(FP32[:60]), EngineRecipe())

    def test_workspace_that_is_too_small(self, rtx: TensorRt) -> None:
        with pytest.raises(MachineError, match=r"cannot build the engine here: .*workspace") as caught:
            build_engine(rtx, network(convolution()), EngineRecipe(workspace_bytes=MIB))
        assert caught.value.hint is not None


def convolution() -> bytes:
    """A graph that no tactic computes within a mebibyte."""
    kernel = GENERATOR.normal(size=(8, 1, 3)).astype(np.float32)
    head = GENERATOR.normal(size=(48, 3)).astype(np.float32)
    return graph_of(
        [
            helper.make_node("Unsqueeze", ["features", "axis"], ["row"]),
            helper.make_node("Conv", ["row", "kernel"], ["seen"], pads=[1, 1]),
            helper.make_node("Flatten", ["seen"], ["flat"]),
            helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        ],
        {"axis": np.array([1]), "kernel": kernel, "head": head},
    )


class TestPrecision:
    @pytest.mark.parametrize("claimed", ["fp16", "int8"])
    def test_claim_without_a_layer_is_refused(self, rtx: TensorRt, claimed: Precision) -> None:
        with pytest.raises(CheckFailedError, match=f"the bundle is {claimed}, but none of the 1 layers with weights"):
            build_engine(rtx, network(FP32, claimed), EngineRecipe())

    def test_int8_in_a_bundle_of_fp32_is_refused(self, rtx: TensorRt) -> None:
        with pytest.raises(CheckFailedError, match=r"the bundle is fp32, but layer '\w+' \(\w+\) gives int8"):
            build_engine(rtx, network(quantised(np.int8(0)), "fp32"), EngineRecipe())

    def test_int8_activations_alone_prove_nothing(self, rtx: TensorRt) -> None:
        graph = quantised(np.int8(0), weights_too=False)
        with pytest.raises(CheckFailedError, match="none of the 1 layers with weights computes in it"):
            build_engine(rtx, network(graph, "int8"), EngineRecipe())

    def test_int8_on_both_sides_is_proved(self, rtx: TensorRt) -> None:
        proof = build_engine(rtx, network(quantised(np.int8(0)), "int8"), EngineRecipe()).proof
        assert (proof.weighted, proof.proved) == (1, 1)


@pytest.mark.parametrize("level", range(6))
def test_every_optimisation_level_builds(rtx: TensorRt, level: int) -> None:
    assert build_engine(rtx, network(), EngineRecipe(optimisation_level=level)).plan


def test_largest_batches_build(rtx: TensorRt) -> None:
    recipe = EngineRecipe(min_batch_rows=3, best_batch_rows=3, max_batch_rows=4096)
    profile = build_engine(rtx, network(), recipe).profile
    assert (profile.smallest, profile.best, profile.largest) == ((3, 6), (3, 6), (4096, 6))


def test_version_compatible_cannot_be_had_and_is_said(rtx: TensorRt) -> None:
    engine = build_engine(rtx, network(), EngineRecipe(version_compatible=True))
    assert [note.partition(" builds")[2] for note in engine.notes] == [
        " for its own version only: not version compatible"
    ]


def test_complaints_about_one_model_are_not_those_of_the_next(rtx: TensorRt) -> None:
    with pytest.raises(BundleError):
        build_engine(rtx, network(quantised(np.uint8(128)), "int8"), EngineRecipe())
    assert build_engine(rtx, network(), EngineRecipe()).warnings == ()


def test_time_is_measured(rtx: TensorRt) -> None:
    assert 0 < build_engine(rtx, network(), EngineRecipe()).seconds < 60
