"""Every kind of student at every precision, converted: the numbers and decisions of torch on every engine.

One file, so that one process converts each student once.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from every_student import STUDENTS, StudentCase, graph_of
from numpy.typing import NDArray

from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.quantise.half import half_from_graph
from mstedge.export.quantise.int8 import Form, int8_from_graph, prepared
from mstedge.export.quantise.ranges import ranges_of
from mstedge.limits import LIMITS, Precision
from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.parity.levels import number_checks
from mstedge.runtime.parity.numbers import probability_differences, sqnr_db

ENGINES = ("onnxruntime", "openvino")
BATCHES = (1, 2, 7)
OTHER_FRAMES = 47
ROWS = 28
# int8 changes which pixel of a pooled window wins where two are nearly equal; unpooling then moves the value.
AGREEMENT = {"fp16": 0.995, "int8": 0.98}
LENGTHS = [(name, None) for name in STUDENTS] + [
    (name, OTHER_FRAMES) for name, case in STUDENTS.items() if case.frames_may_vary
]


def tensors_of(case: StudentCase, frames: int | None) -> tuple[Tensor, Tensor]:
    shape = case.input_shape if frames is None else case.shape_of(frames)
    return Tensor(name="sense", shape=shape), Tensor(name="logits", shape=case.output_shape)


def torch_logits(case: StudentCase, frames: int | None, features: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = case.make(frames)(torch.from_numpy(features)).numpy()
    return logits


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "frames"), LENGTHS)
def test_fp32_answers_as_torch_does(name: str, frames: int | None, engine: str) -> None:
    case = STUDENTS[name]
    input_tensor, output_tensor = tensors_of(case, frames)
    network = Network(graph_of(name, frames), input_tensor, output_tensor, "fp32")
    session = backend_named(engine).load(network, EngineOptions(threads=1))
    features = case.rows(14, seed=600, frames=frames)
    reference = torch_logits(case, frames, features)
    for batch in BATCHES:
        parts = [session.run(features[start : start + batch]) for start in range(0, len(features), batch)]
        checks = number_checks(reference, np.concatenate(parts), LIMITS["fp32"])
        assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize(("name", "frames"), LENGTHS)
def test_every_graph_is_within_the_limits_of_bundles(name: str, frames: int | None) -> None:
    input_tensor, output_tensor = tensors_of(STUDENTS[name], frames)
    summary = check_onnx(graph_of(name, frames))
    assert summary.inputs == {"sense": ("float32", ("batch", *input_tensor.shape))}
    assert summary.outputs == {"logits": ("float32", ("batch", *output_tensor.shape))}


@pytest.mark.parametrize("name", sorted(set(STUDENTS) - {"cnn-image", "cnn-audio"}))  # test_onnx_graph.py: those
def test_every_conversion_repeats_byte_for_byte(name: str) -> None:
    case = STUDENTS[name]
    assert onnx_from_network(case.make(), case.input_shape, input_name="sense") == graph_of(name)


def test_every_student_has_learnt_its_classes() -> None:
    for case in STUDENTS.values():
        features, labels = case.labelled_rows(50, seed=600)
        agreement = (torch_logits(case, None, features).argmax(axis=1) == labels).mean()
        assert agreement > 0.75, f"{case.name}: {agreement}"


def test_the_encoder_decoder_unpools_with_operators_that_every_engine_has() -> None:
    operators = check_onnx(graph_of("segmenter")).operators
    assert {"MaxPool", "Where", "DepthToSpace"} <= set(operators)
    assert not {"MaxUnpool", "ScatterND", "ScatterElements", "GatherElements", "NonZero", "Shape"} & set(operators)


@cache
def half_of(name: str) -> bytes:
    return half_from_graph(graph_of(name))


@cache
def int8_of(name: str, form: Form) -> bytes:
    fp32 = prepared(graph_of(name))
    ranges = ranges_of(fp32, STUDENTS[name].rows(64, seed=800), "minmax", symmetric=form == "symmetric")
    return int8_from_graph(fp32, ranges, form=form)


def require_same_decisions(name: str, model: bytes, precision: Precision, engine: str) -> None:
    case = STUDENTS[name]
    network = Network(model, *tensors_of(case, None), precision)
    session = backend_named(engine).load(network, EngineOptions(threads=1))
    features = case.rows(ROWS, seed=700)
    reference = torch_logits(case, None, features)
    candidate = np.concatenate([session.run(features[start : start + 7]) for start in range(0, ROWS, 7)])
    limits = LIMITS[precision]
    assert np.isfinite(candidate).all()
    assert np.median(sqnr_db(reference, candidate)) >= limits.min_median_sqnr_db
    assert np.percentile(probability_differences(reference, candidate), 99) <= limits.max_p99_probability_difference
    assert (reference.argmax(axis=1) == candidate.argmax(axis=1)).mean() >= AGREEMENT[precision]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", STUDENTS)
def test_fp16_decides_as_fp32_does(name: str, engine: str) -> None:
    require_same_decisions(name, half_of(name), "fp16", engine)


@pytest.mark.parametrize(
    ("form", "engine"), [("uint8", "onnxruntime"), ("symmetric", "onnxruntime"), ("symmetric", "openvino")]
)
@pytest.mark.parametrize("name", STUDENTS)
def test_int8_decides_as_fp32_does(name: str, form: Form, engine: str) -> None:
    require_same_decisions(name, int8_of(name, form), "int8", engine)


@pytest.mark.parametrize("name", STUDENTS)
def test_every_precision_is_within_the_limits_of_bundles(name: str) -> None:
    fp32 = check_onnx(graph_of(name))
    for model in (half_of(name), int8_of(name, "uint8"), int8_of(name, "symmetric")):
        summary = check_onnx(model)
        assert (summary.inputs, summary.outputs) == (fp32.inputs, fp32.outputs)
