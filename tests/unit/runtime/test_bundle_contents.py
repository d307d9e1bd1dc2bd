"""What an intact bundle gives, and what one says whose parts contradict each other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from bundle_factory import (
    LABELS,
    SPECS,
    change_json,
    change_manifest,
    make_bundle,
    model_of,
    network_weights,
    npy_bytes,
    seal,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import BundleError, UsageError
from mstedge.runtime.bundle import open_bundle
from mstedge.runtime.bundle.golden import check_json_depth, floats_from_npy


@pytest.mark.parametrize("kind", ["audio", "image", "array"])
@pytest.mark.parametrize("form", ["raw", "features"])
def test_an_intact_bundle_gives_what_went_in(tmp_path: Path, kind: Any, form: str):
    opened = open_bundle(make_bundle(tmp_path / "made", kind, raw=form == "raw"))
    assert opened.manifest.name == f"factory-{kind}"
    assert opened.manifest.labels == LABELS
    assert opened.golden_features().shape == (8, *SPECS[kind].feature_shape)
    assert opened.golden_logits().shape == (8, 3)
    assert opened.parity_report().verdict == "pass"
    cases = opened.golden_cases().cases
    assert [case.index for case in cases] == list(range(8))
    assert [case.label for case in cases] == opened.golden_logits().argmax(axis=1).tolist()
    assert all((case.file is not None) == (form == "raw") for case in cases)
    assert ("golden/raw/case-0" in "".join(opened.digests)) == (form == "raw")


@pytest.mark.parametrize("kind", ["audio", "image", "array"])
def test_golden_logits_are_those_of_the_model(tmp_path: Path, kind: Any):
    runtime = pytest.importorskip("onnxruntime")
    opened = open_bundle(make_bundle(tmp_path / "made", kind))
    session = runtime.InferenceSession(opened.read("model.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"features": opened.golden_features()})
    np.testing.assert_allclose(logits, opened.golden_logits(), atol=1e-4)


def test_the_same_bundle_is_made_twice(tmp_path: Path):
    one, other = (make_bundle(tmp_path / name) / "SHA256SUMS" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_opening_needs_neither_onnx_nor_an_engine(bundle: Path):
    code = (
        "import sys, pathlib\n"
        "for name in ('onnx', 'torch', 'onnxruntime', 'cv2', 'scipy'): sys.modules[name] = None\n"
        "from mstedge.runtime.bundle import open_bundle\n"
        f"open_bundle(pathlib.Path({str(bundle)!r}))\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=bundle)


def usage_error(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        open_bundle(path)
    return caught.value


def test_a_path_that_is_no_bundle_says_what_makes_one(tmp_path: Path):
    missing = usage_error(tmp_path / "missing")
    assert "there is no such folder" in missing.message
    assert missing.hint == "mstedge export RUN makes a bundle from a run"
    assert "is not a bundle" in usage_error(tmp_path).message
    (tmp_path / "student.onnx").write_bytes(b"x")
    model = usage_error(tmp_path / "student.onnx")
    assert "is a file" in model.message
    assert model.hint is None
    assert "there is no such folder" in usage_error(tmp_path / "nul\0").message


def test_a_run_given_by_mistake_leads_to_its_bundle(tmp_path: Path):
    (tmp_path / "run.json").write_text("{}")
    run = usage_error(tmp_path)
    assert "is a run, not a bundle" in run.message
    assert run.hint == f"mstedge export {tmp_path} makes a bundle from it"
    made = make_bundle(tmp_path / "onnx-fp32.bundle")
    assert usage_error(tmp_path).hint == f"its bundle is {made}"


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["low", "middle"]}, "output has shape (3,), but there are 2 labels"),
        ({"labels": ["low", "low", "high"]}, "labels holds one label twice"),
        ({"labels": ["low", "\x1b[31m", "high"]}, "labels.1 is '\\x1b[31m': expected printable text"),
        ({"name": ""}, "name is ''"),
        ({"model": "other.onnx"}, "lacks 'other.onnx'"),
        ({"model": "../model.onnx"}, "lacks '../model.onnx'"),
        ({"model": "golden/cases.json"}, "golden/cases.json: "),
        ({"precision": "int8"}, "precision"),
        ({"schema": "mstedge.manifest/2"}, "schema"),
        ({"extra": 1}, "unknown key extra"),
        ({"parity": {"verdict": "pass", "scope": "engine", "rows": 8}}, "parity/report.json: says pass, graph, 8 rows"),
        (
            {"parity": {"verdict": "pass", "scope": "graph", "rows": 900}},
            "parity/report.json: says pass, graph, 8 rows",
        ),
        ({"input": {"name": "x", "shape": [4, 6]}}, "model.onnx: its inputs are features float32 ['batch', 4, 6]"),
        ({"output": {"name": "y", "shape": [3]}}, "model.onnx: its outputs are logits float32 ['batch', 3]"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(bundle: Path, changes: dict[str, Any], message: str):
    found = refusal(change_manifest(bundle, **changes))
    assert message in found
    assert str(bundle) in found


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def half_floats(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))


def no_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


@pytest.mark.parametrize("spoil", [fixed_batch, half_floats, second_input, no_shape, custom_operator])
def test_a_graph_that_is_another_than_the_manifest_says_is_refused(
    bundle: Path, spoil: Callable[[onnx.ModelProto], None]
):
    model = model_of((4, 6), *network_weights(SPECS["array"], 0))
    spoil(model)
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    assert f"{bundle / 'model.onnx'}: " in refusal(seal(bundle))


def changed_case(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda cases: cases[1].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_case(label=3), "case 'case-1' has label 3: there are 3 labels"),
        (changed_case(label=-1), "case 'case-1' has label -1"),
        (changed_case(index=8), "case 'case-1' has index 8: there are 8 rows"),
        (changed_case(index=-1), "case 'case-1' has index -1"),
        (changed_case(index=0), "two cases have the same index"),
        (changed_case(id="case-0"), "two cases have the same id"),
        (changed_case(id="a\nb"), "not printable"),
        (changed_case(file=None), "one of file and decoded_sha256"),
        (changed_case(decoded_sha256=None), "one of file and decoded_sha256"),
        (changed_case(decoded_sha256="zz"), "not a sha256"),
        (changed_case(file="../case-1.npy"), "'../case-1.npy', which is not a golden file"),
        (changed_case(file="model.onnx"), "'model.onnx', which is not a golden file"),
        (changed_case(file="golden/raw/case-99.npy"), "which is not a golden file"),
        (changed_case(licence=None), "cases.1.licence"),
        (list.clear, "holds no case"),
    ],
)
def test_golden_cases_that_do_not_fit_are_refused(
    bundle: Path, change: Callable[[list[dict[str, Any]]], None], message: str
):
    cases = msgspec.json.decode((bundle / "golden/cases.json").read_bytes())["cases"]
    change(cases)
    found = refusal(change_json(bundle, "golden/cases.json", cases=cases))
    assert message in found
    assert "golden/cases.json" in found


def test_a_golden_label_that_its_logits_contradict_is_refused(bundle: Path):
    cases = msgspec.json.decode((bundle / "golden/cases.json").read_bytes())["cases"]
    cases[2]["label"] = (cases[2]["label"] + 1) % 3
    found = refusal(change_json(bundle, "golden/cases.json", cases=cases))
    assert "case 'case-2'" in found
    assert "its logits are highest at" in found


ROWS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_rows_come_back_and_cannot_be_written():
    found = floats_from_npy(npy_bytes(ROWS), (3, 4), source="here")
    np.testing.assert_array_equal(found, ROWS)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    np.testing.assert_array_equal(floats_from_npy(npy_bytes(ROWS[0, 0]), (), source="here"), ROWS[0, 0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy_bytes(ROWS.astype(np.float64)),
        npy_bytes(ROWS.astype(">f4")),
        npy_bytes(np.asfortranarray(ROWS)),
        npy_bytes(ROWS[:0]),
        npy_bytes(ROWS)[:-4],
        npy_bytes(ROWS) + b"\0",
        npy_bytes(ROWS.transpose(0, 2, 1).copy()),
        npy_bytes(np.full_like(ROWS, np.nan)),
        npy_bytes(np.full_like(ROWS, np.inf)),
        npy_bytes(ROWS).replace(b"(2, 3, 4)", b"(9999999999, 3, 4)"),
        npy_bytes(ROWS).replace(b"'<f4'", b"'|O8'"),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"\x93NUMPY\x02\x00" + npy_bytes(ROWS)[8:],
    ],
)
def test_arrays_that_are_not_plain_float32_rows_are_refused(content: bytes):
    with pytest.raises(BundleError, match=r"golden/x\.npy: "):
        floats_from_npy(content, (3, 4), source="golden/x.npy")


@settings(deadline=None)
@given(position=st.integers(0, 200), value=st.integers(0, 255))
def test_a_changed_array_file_is_refused_or_read_as_numpy_reads_it(position: int, value: int):
    import io

    content = bytearray(npy_bytes(ROWS))
    content[position] = value
    try:
        found = floats_from_npy(bytes(content), (3, 4), source="here")
    except BundleError:
        return
    np.testing.assert_array_equal(found, np.load(io.BytesIO(bytes(content)), allow_pickle=False))


@settings(deadline=None)
@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_depth_of_json_is_that_of_its_values(value: Any):
    def depth(inside: Any) -> int:
        if isinstance(inside, dict):
            return 1 + max((depth(item) for item in inside.values()), default=0)
        return 1 + max((depth(item) for item in inside), default=0) if isinstance(inside, list) else 0

    wrapped = msgspec.json.encode(value)
    check_json_depth(wrapped, source="here")
    room = 32 - depth(value)
    check_json_depth(b"[" * room + wrapped + b"]" * room, source="here")
    with pytest.raises(BundleError, match="nested deeper than 32"):
        check_json_depth(b"[" * (room + 1) + wrapped + b"]" * (room + 1), source="here")
