"""`mstedge parity --explain`: the table, its JSON, and what it asks for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundle_factory import make_bundle, seal
from onnx import numpy_helper

from mstedge.cli import run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "good.bundle")


@pytest.fixture
def spoilt(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle in which one weight was changed."""
    copy = Path(shutil.copytree(bundle, tmp_path / "spoilt.bundle"))
    model = onnx.load(copy / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda each: int(np.prod(each.dims)))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1.0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, copy / "model.onnx")
    return seal(copy)


def parity(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = run(["parity", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_spoilt_weight_is_named(spoilt: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = parity(capsys, spoilt, "--explain", "--against", bundle)
    assert code == 1
    (line,) = [line for line in out.splitlines() if "← first beyond tolerance" in line]
    assert "Gemm" in line or "MatMul" in line
    assert "first beyond tolerance: " in out


def test_an_onnx_file_can_be_the_reference_and_agreement_is_said(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = parity(capsys, bundle, "--explain", "--against", bundle / "model.onnx")
    assert code == 0
    assert "all within tolerance" in out
    assert "exact" in out


def test_json_is_the_comparison(spoilt: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = parity(capsys, spoilt, "--explain", "--against", bundle, "--json")
    found = json.loads(out)
    assert code == 1
    assert found["schema"] == "mstedge.explanation/1"
    assert 1 <= len(found["rows"]) <= 16
    assert found["first_beyond"] in [tensor["node"] for tensor in found["tensors"] if tensor["beyond"]]


def test_a_bundle_outside_a_run_needs_a_reference(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = parity(capsys, bundle, "--explain")
    assert code == 2
    assert "does not stand in a run" in error
    assert "--against RUN" in error


def test_what_cannot_be_a_reference_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parity(capsys, bundle, "--explain", "--against", tmp_path)[0] == 2
    text = tmp_path / "notes.onnx"
    text.write_text("no model")
    code, _, error = parity(capsys, bundle, "--explain", "--against", text)
    assert code == 1
    assert "notes.onnx" in error


def test_against_without_explain_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = parity(capsys, bundle, "--against", bundle)
    assert code == 2
    assert "add --explain" in error
