"""The ONNX scanner beside the onnx package: what it accepts it sees as onnx does, and what is forbidden it refuses."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import MODELS, agree, as_model, linear, nested, serialised, tensors_of

from mstedge.errors import BundleError
from mstedge.runtime.bundle import check_onnx, onnx_limits, wire

QUICK = settings(max_examples=150, deadline=10_000, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", MODELS)
def test_summary_says_what_onnx_says(name: str):
    onnx.checker.check_model(MODELS[name])
    summary = check_onnx(serialised(MODELS[name]))
    agree(summary, MODELS[name])
    assert summary.parameters_bytes == sum(numpy_helper.to_array(tensor).nbytes for tensor in tensors_of(MODELS[name]))


def test_inputs_and_outputs_carry_types_and_free_dimensions():
    summary = check_onnx(serialised(MODELS["linear"]))
    assert summary.inputs == {"features": ("float32", ("batch", 4, 6))}
    assert summary.outputs == {"logits": ("float32", ("batch", 3))}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_, np.complex64, np.uint64])
@pytest.mark.parametrize("form", ["raw", "typed"])
def test_tensors_are_accepted_in_both_forms(dtype: type[Any], form: str):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    data = array.tobytes() if form == "raw" else array.flatten()
    tensor = helper.make_tensor("extra", helper.np_dtype_to_tensor_dtype(array.dtype), (2, 3), data, raw=form == "raw")
    model = linear()
    model.graph.initializer.append(tensor)
    before = check_onnx(serialised(linear())).parameters_bytes
    assert check_onnx(serialised(model)).parameters_bytes == before + array.nbytes


def test_strings_count_with_their_length():
    model = linear()
    model.graph.initializer.append(helper.make_tensor("extra", TensorProto.STRING, (2,), [b"abc", b"de"]))
    assert check_onnx(serialised(model)).parameters_bytes == check_onnx(serialised(linear())).parameters_bytes + 5


def test_inputs_with_a_default_are_not_inputs():
    model = linear()
    model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [3]))
    assert list(check_onnx(serialised(model)).inputs) == ["features"]


def test_lists_of_tensors_and_graphs_are_looked_into():
    outside = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "outside")
    external(outside)
    leaf = nested(1)
    leaf.initializer.append(outside)
    for values in ([outside], [leaf]):
        model = linear()
        model.graph.node[0].attribute.append(helper.make_attribute("several", values))
        with pytest.raises(BundleError, match="external data"):
            check_onnx(serialised(model))


@pytest.mark.parametrize("code", [TensorProto.INT4, TensorProto.UINT4, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN])
def test_narrow_tensors_are_accepted(code: int):
    model = linear()
    model.graph.initializer.append(helper.make_tensor("extra", code, (5,), np.ones(5, dtype=np.float32)))
    check_onnx(serialised(model))


def external(tensor: onnx.TensorProto) -> None:
    tensor.raw_data = b"moved out"
    onnx.external_data_helper.set_external_data(tensor, location="../../secret")
    tensor.ClearField("raw_data")


def located(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL


def entry_alone(tensor: onnx.TensorProto) -> None:
    tensor.external_data.add(key="location", value="/etc/passwd")


@pytest.mark.parametrize("spoil", [external, located, entry_alone])
@pytest.mark.parametrize("name", MODELS)
def test_external_data_is_refused_wherever_it_hides(name: str, spoil: Callable[[onnx.TensorProto], None]):
    for position in range(len(list(tensors_of(MODELS[name])))):
        model = onnx.ModelProto.FromString(serialised(MODELS[name]))
        spoil(list(tensors_of(model))[position])
        with pytest.raises(BundleError, match="external data") as caught:
            check_onnx(serialised(model), source="b/model.onnx")
        assert caught.value.message.startswith("b/model.onnx: ")
        assert caught.value.hint == "export the model as one file"


def with_node_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def with_import(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def with_function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], list(model.opset_import))
    )


def with_training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def with_sparse_initialiser(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    external(values)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [9]))


def with_sparse_attribute(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(values, indices, [9])
    model.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))


def with_segment(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].segment.begin = 1


def with_old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 6


def with_future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 1000


def with_two_opsets(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx", 9))


def with_no_opset(model: onnx.ModelProto) -> None:
    model.ClearField("opset_import")


def with_future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def without_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


def with_negative_dimension(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def with_huge_dimensions(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 39, 1 << 39, 1 << 39]


def with_missing_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def with_data_twice(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].float_data.append(1.0)


def with_data_of_another_type(model: onnx.ModelProto) -> None:
    tensor = helper.make_tensor("extra", TensorProto.FLOAT, [2], [1.0, 2.0])
    tensor.int32_data.append(1)
    model.graph.initializer.append(tensor)


def with_raw_strings(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.TensorProto(name="s", data_type=TensorProto.STRING, dims=[0], raw_data=b""))


def with_many_dimensions(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1] * 17


def with_unknown_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 99


def with_input_twice(model: onnx.ModelProto) -> None:
    model.graph.input.append(model.graph.input[0])


def with_sequence_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, [1]))


def with_negative_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -4


def without_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = ""


def with_long_name(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "A" * 5000


def with_overload(model: onnx.ModelProto) -> None:
    model.graph.node[0].overload = "two"


def with_runtime_format(model: onnx.ModelProto) -> None:
    model.producer_name = "ORTM and so on"


FORBIDDEN = {
    with_node_domain: "the operator 'Flatten' of the domain 'com.example': expected standard ONNX operators",
    with_import: "imports operators of the domain 'com.example'",
    with_function: "uses Model.functions",
    with_training: "uses Model.training_info",
    with_sparse_initialiser: "uses Graph.sparse_initializer",
    with_sparse_attribute: "uses Attribute.sparse_tensor",
    with_segment: "uses Tensor.segment",
    with_old_opset: "operator set 6: expected 7 to",
    with_future_opset: "operator set 1000: expected 7 to",
    with_two_opsets: "imports 2 operator sets",
    with_no_opset: "imports 0 operator sets",
    with_future_ir: "IR version 99",
    without_graph: "holds no graph",
    with_negative_dimension: "negative, too many or too large",
    with_huge_dimensions: "bytes of data",
    with_missing_data: "has 284 bytes of data in raw_data: expected 288",
    with_data_twice: "of data in",
    with_data_of_another_type: "has 2 numbers of data in ['float_data', 'int32_data']: expected 2",
    with_raw_strings: "the tensor 's' (string)",
    with_many_dimensions: "17 dimensions",
    with_unknown_type: "unknown element type 99",
    with_input_twice: "the input 'features', which stands twice",
    with_sequence_input: "the input 'list', which stands twice or is not a tensor",
    with_negative_input: "negative, too large",
    without_operator: "operator is ''",
    with_long_name: "a name of 5000 bytes",
    with_overload: "overload",
    with_runtime_format: "ONNX Runtime's own format",
}


@pytest.mark.parametrize("spoil", FORBIDDEN, ids=lambda spoil: spoil.__name__)
def test_what_a_bundle_may_not_carry_is_refused_by_name(spoil: Callable[[onnx.ModelProto], None]):
    model = linear()
    spoil(model)
    with pytest.raises(BundleError) as caught:
        check_onnx(serialised(model))
    assert FORBIDDEN[spoil] in caught.value.message
    assert caught.value.hint


def test_graphs_may_nest_four_deep_and_no_deeper():
    check_onnx(serialised(as_model(nested(4))))
    with pytest.raises(BundleError, match="nested deeper than 4"):
        check_onnx(serialised(as_model(nested(5))))
    with pytest.raises(BundleError, match="messages are nested deeper than 20"):
        check_onnx(serialised(as_model(nested(30))))


@pytest.mark.parametrize(
    ("module", "constant", "limit", "message"),
    [
        (onnx_limits, "MAX_NODES", 1, "more than 1 nodes"),
        (onnx_limits, "MAX_PARAMETER_BYTES", 100, "more than 100 bytes of tensors"),
        (wire, "MAX_TEXT_BYTES", 3, "expected at most 3"),
    ],
)
def test_bounds_hold(monkeypatch: pytest.MonkeyPatch, module: ModuleType, constant: str, limit: int, message: str):
    monkeypatch.setattr(module, constant, limit)
    with pytest.raises(BundleError, match=message):
        check_onnx(serialised(linear()))


def test_number_of_fields_is_bounded():
    many_empty_notes = b"\x72\x00" * (wire.MAX_FIELDS + 1)
    with pytest.raises(BundleError, match="fields"):
        check_onnx(many_empty_notes)


def test_merged_messages_are_refused():
    """Engines merge a second graph into the first; two half tensors could become one that nobody checked."""
    model = serialised(linear())
    with pytest.raises(BundleError, match=r"Model\.graph stands twice"):
        check_onnx(model + b"\x3a\x00")


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (b"\x1b\x1c", "wire type 3"),
        (b"\x08", "cut off inside a number"),
        (b"\x78\x01", "unknown field 15"),
        (b"\x00\x00", "unknown field 0"),
        (b"\x2d\x00\x00\x00\x00", r"Model\.model_version has wire type 5"),
        (b"\x38\x01", r"Model\.graph has wire type 0|may not carry"),
        (b"\x72\x7f", "cut off: 127 bytes are announced and 0 are left"),
        (b"\x72" + b"\xff" * 9 + b"\x01", "are announced"),
        (b"\x28" + b"\xff" * 11, "more than ten bytes"),
        (b"\x28" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
    ],
)
def test_odd_encodings_are_refused(suffix: bytes, message: str):
    with pytest.raises(BundleError, match=message):
        check_onnx(serialised(linear()) + suffix)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (b"\x08\x01\x10\x01\x22\x05\0\0\0\0\0", "5 bytes of packed numbers of 4 bytes each"),
        (b"\x08\x01\x10\x06\x2a\x02\x01\x80", "cut off inside packed numbers"),
    ],
)
def test_packed_numbers_that_are_cut_off_are_refused(tensor: bytes, message: str):
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    with pytest.raises(BundleError, match=message):
        check_onnx(b"\x08\x08\x3a" + bytes([len(graph)]) + graph)


@pytest.mark.parametrize("name", MODELS)
def test_cut_off_anywhere_is_refused_or_seen_as_onnx_sees_it(name: str):
    content = serialised(MODELS[name])
    for length in range(len(content)):
        accepted_as_onnx_sees_it(content[:length])
    with pytest.raises(BundleError):
        check_onnx(content[: len(content) // 2])


def accepted_as_onnx_sees_it(content: bytes) -> None:
    """Check bytes: only BundleError may come out, and an accepted file must look the same to onnx."""
    try:
        summary = check_onnx(content)
    except BundleError:
        return
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception:  # noqa: BLE001  parts that an engine parses more strictly: it refuses them itself
        return
    agree(summary, model)


@QUICK
@given(content=st.binary(max_size=400))
def test_random_bytes_give_a_bundle_error(content: bytes):
    accepted_as_onnx_sees_it(content)


@QUICK
@given(
    name=st.sampled_from(sorted(MODELS)),
    edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_changed_bytes_are_refused_or_seen_as_onnx_sees_them(name: str, edits: list[tuple[int, int]]):
    content = bytearray(serialised(MODELS[name]))
    for position, value in edits:
        content[position % len(content)] = value
    accepted_as_onnx_sees_it(bytes(content))


@QUICK
@given(
    name=st.sampled_from(sorted(MODELS)),
    cut=st.tuples(st.integers(0, 1 << 16), st.integers(0, 1 << 16)),
    inserted=st.binary(max_size=12),
)
def test_spliced_bytes_are_refused_or_seen_as_onnx_sees_them(name: str, cut: tuple[int, int], inserted: bytes):
    content = serialised(MODELS[name])
    start, stop = sorted(position % len(content) for position in cut)
    accepted_as_onnx_sees_it(content[:start] + inserted + content[stop:])
