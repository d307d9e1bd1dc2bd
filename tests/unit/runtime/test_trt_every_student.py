"""A real engine from every student at every precision, built by TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

from functools import cache

import pytest
from every_student import CLASSES, STUDENTS
from real_rtx import rtx_or_skip

from mstedge.engine_recipe import EngineRecipe
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.quantise.half import half_from_graph, last_layer
from mstedge.export.quantise.int8 import int8_from_graph, prepared
from mstedge.export.quantise.ranges import ranges_of
from mstedge.limits import PRECISIONS, Precision
from mstedge.manifest import Tensor
from mstedge.runtime.backends import Network
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.trt.builder import BuiltEngine, build_engine
from mstedge.runtime.trt.layers import count_dtypes, count_kinds

RECIPE = EngineRecipe(min_batch_rows=1, best_batch_rows=2, max_batch_rows=7)
WEIGHTED_KINDS = {
    "cnn-image": {"CONVOLUTION", "MATRIX_MULTIPLY"},
    "cnn-audio": {"CONVOLUTION", "MATRIX_MULTIPLY"},
    "temporal": {"CONVOLUTION", "MATRIX_MULTIPLY"},
    "mlp": {"MATRIX_MULTIPLY"},
    "attention": {"MATRIX_MULTIPLY", "SOFTMAX", "NORMALIZATION"},
    "volume": {"CONVOLUTION", "MATRIX_MULTIPLY"},
    "segmenter": {"CONVOLUTION", "POOLING"},
}


@cache
def graph_of(student: str, precision: Precision, *, keep_last: bool) -> bytes:
    case = STUDENTS[student]
    if precision == "fp32":
        network = case.network([case.input_shape], CLASSES).eval()
        return onnx_from_network(network, case.input_shape, input_name="sense", output_name="logits")
    fp32 = graph_of(student, "fp32", keep_last=False)
    if precision == "fp16":
        return half_from_graph(fp32, keep=[last_layer(fp32)] if keep_last else [])
    ready = prepared(fp32)
    ranges = ranges_of(ready, case.rows(8), "minmax", symmetric=True)
    return int8_from_graph(ready, ranges, form="symmetric", keep=[last_layer(ready)] if keep_last else [])


@cache
def engine_of(student: str, precision: Precision, *, keep_last: bool = False) -> BuiltEngine:
    case, graph = STUDENTS[student], graph_of(student, precision, keep_last=keep_last)
    check_onnx(graph)
    tensors = Tensor(name="sense", shape=case.input_shape), Tensor(name="logits", shape=case.output_shape)
    return build_engine(rtx_or_skip(), Network(graph, *tensors, precision), RECIPE)


def test_every_student_is_here() -> None:
    assert set(WEIGHTED_KINDS) == set(STUDENTS)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("student", STUDENTS)
class TestEngine:
    def test_tensors_are_those_of_the_student(self, student: str, precision: Precision) -> None:
        case, engine = STUDENTS[student], engine_of(student, precision)
        found = [(each.mode, each.name, each.dtype, each.shape) for each in engine.tensors]
        assert found == [
            ("input", "sense", "float32", (-1, *case.input_shape)),
            ("output", "logits", "float32", (-1, *case.output_shape)),
        ]
        assert len(engine.plan) > 10_000

    def test_profile_is_the_recipe(self, student: str, precision: Precision) -> None:
        profile, shape = engine_of(student, precision).profile, STUDENTS[student].input_shape
        assert (profile.smallest, profile.best, profile.largest) == ((1, *shape), (2, *shape), (7, *shape))

    def test_layers_have_the_kinds_of_the_student(self, student: str, precision: Precision) -> None:
        kinds = count_kinds(engine_of(student, precision).layers)
        assert set(kinds) >= WEIGHTED_KINDS[student]
        assert not any("PLUGIN" in kind for kind in kinds)
        assert ("QUANTIZE" in kinds) == ("DEQUANTIZE" in kinds) == (precision == "int8")

    def test_layers_have_the_types_of_the_precision(self, student: str, precision: Precision) -> None:
        engine = engine_of(student, precision)
        types = count_dtypes(engine.layers)
        assert ("float16" in types) == (precision == "fp16")
        assert ("int8" in types) == (precision == "int8")
        assert engine.proof.proved == engine.proof.weighted > 1

    def test_library_has_nothing_to_complain_about(self, student: str, precision: Precision) -> None:
        engine = engine_of(student, precision)
        assert engine.warnings == ()
        assert engine.notes == ()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_kept_layer_is_left_out_of_the_proof(precision: Precision) -> None:
    whole, kept = engine_of("cnn-image", precision).proof, engine_of("cnn-image", precision, keep_last=True).proof
    assert kept.weighted == whole.weighted
    assert kept.proved == whole.proved - 1
