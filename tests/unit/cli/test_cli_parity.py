"""`mstedge parity`: what it shows, what it exits with, and that every other verdict than `pass` is loud."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bundle_factory import (
    SPECS,
    change_json,
    change_manifest,
    make_bundle,
    model_bytes,
    network_weights,
    npy_bytes,
    seal,
    write_calibration,
)

from mstedge.cli import run
from mstedge.parity import ParityReport
from mstedge.runtime.backends import BACKENDS

CASES = 12


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "made.bundle", "array", cases=CASES)


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "made.bundle"))


def report_of(text: str) -> ParityReport:
    return msgspec.json.decode(text, type=ParityReport)


def other_network(folder: Path) -> Path:
    """Put another network into the bundle: what a broken conversion would leave."""
    weights, bias = network_weights(SPECS["array"], 7)
    (folder / "model.onnx").write_bytes(model_bytes((4, 6), weights, bias))
    return seal(folder)


def relabelled(folder: Path, label: int | None) -> Path:
    return change_json(folder, "parity/rows.json", labels=[label] * CASES)


def test_a_bundle_that_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(folder)]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith("onnx · fp32 · onnxruntime ")
    assert [line[:12].rstrip() for line in lines if line[:2] in {"L0", "L1", "L2", "L3"}] == [
        *("L0 contract", "L1 numbers", "L2 decisions", "L3 task")
    ]
    assert sum(line.endswith("  ok") for line in lines) == 15
    assert "accuracy 100.00%, reference 100.00%, over 12 labelled rows in 12 clusters" in lines
    assert "allowed loss 0.1 points (default of fp32)" in lines
    assert "note: fp32: 12 rows cannot show 0.1 points (2995 would): level 2 decides" in lines
    assert lines[-1] == "PASS: fp32 for onnx (engine) on 12 rows, margin 0.1 points (default of fp32)"
    assert shown.err == ""


def test_json_is_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(folder), "--json", "--threads", "1", "--margin", "1"]) == 0
    report = report_of(capsys.readouterr().out)
    assert (report.verdict, report.rows, report.threads) == ("pass", CASES, 1)
    assert report.task is not None
    assert (report.task.margin, report.task.margin_origin) == (0.01, "--margin")


def test_another_network_fails_with_its_limits_and_flips(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(other_network(folder))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("median SQNR of logits in dB " in line and "FAILED: a limit of " in line for line in lines)
    assert any(line.startswith("reason: L1: median SQNR") and ">= 80" in line for line in lines)
    assert any(line.startswith("changed answers: ") for line in lines)
    assert lines[-1].startswith("FAIL: fp32 for onnx (engine) on 12 rows")


def test_rows_without_labels_are_invalid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(relabelled(folder, None))]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("reason: no held-out row has a label") for line in lines)
    assert lines[-1] == "INVALID: fp32 for onnx (engine) on 12 rows"


def as_int8(folder: Path, *, calibrated: int = 4) -> Path:
    """Make the bundle claim int8, which its graph does not keep."""
    write_calibration(folder, rows=calibrated)
    quantisation = {"form": "uint8", "method": "minmax", "rows": calibrated}
    change_json(folder, "parity/report.json", precision="int8")
    return change_manifest(folder, precision="int8", quantisation=quantisation)


def test_a_precision_that_the_graph_does_not_keep_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(as_int8(folder))]) == 1
    assert "share of weights in int8 is 0: expected >= 0.5" in capsys.readouterr().out


def test_rows_that_were_calibrated_on_are_invalid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_int8(folder)
    ids = [*(f"training-{row}" for row in range(3)), "case-5"]
    assert run(["parity", str(change_json(folder, "parity/calibration.json", ids=ids))]) == 2
    assert "reason: 1 of 12 rows were calibrated on" in capsys.readouterr().out


def half_precision(folder: Path) -> Path:
    """Put the network's weights into float16, which the bundle says as well."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string((folder / "model.onnx").read_bytes())
    for each in model.graph.initializer:
        each.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(each).astype(np.float16), each.name))
    model.graph.node[0].input[0] = "half"
    model.graph.node[1].output[0] = "halves"
    model.graph.node.insert(0, helper.make_node("Cast", ["features"], ["half"], to=TensorProto.FLOAT16))
    model.graph.node.append(helper.make_node("Cast", ["halves"], ["logits"], to=TensorProto.FLOAT))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    change_json(folder, "parity/report.json", precision="fp16")
    return change_manifest(folder, precision="fp16")


def test_too_few_rows_cannot_tell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(half_precision(folder))]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("reason: L3: ") and "rows would" in line for line in lines)
    assert lines[-1].startswith("INCONCLUSIVE: fp16 for onnx (engine) on 12 rows, margin 0.5 points")
    assert run(["parity", str(folder), "--margin", "30"]) == 0


@pytest.mark.parametrize("margin", ["0", "-1", "100", "nan"])
def test_a_margin_that_is_none(folder: Path, capsys: pytest.CaptureFixture[str], margin: str) -> None:
    assert run(["parity", str(folder), "--margin", margin]) == 2
    assert "expected percentage points above 0 and below 100" in capsys.readouterr().err


def test_an_unknown_backend(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(folder), "--backend", "onxruntime"]) == 2
    assert "did you mean 'onnxruntime'?" in capsys.readouterr().err


def test_another_backend_runs_the_same_bundle(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not BACKENDS["openvino"].available().available:
        pytest.skip(BACKENDS["openvino"].available().reason)
    assert run(["parity", str(folder), "--backend", "openvino"]) == 0
    assert capsys.readouterr().out.startswith("onnx · fp32 · openvino ")


def manifest_of(folder: Path, names: range) -> Path:
    elsewhere = folder.parent / "data"
    shutil.copytree(folder / "golden/raw", elsewhere, dirs_exist_ok=True)
    lines = [f"case-{number},case-{number}.npy," for number in names]
    (elsewhere / "rows.csv").write_text("\n".join(["id,array,label", *lines]) + "\n")
    return elsewhere / "rows.csv"


def test_data_is_read_as_a_device_reads_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = manifest_of(folder, range(10))
    assert run(["parity", str(folder), "--data", str(data)]) == 0
    shown = capsys.readouterr()
    assert "rows whose raw file gives other features" in shown.out
    assert "PASS: fp32 for onnx (engine) on 10 rows" in shown.out
    assert "note: 2 of the 12 rows that were compared at export are not among these" in shown.err
    path = data.parent / "case-3.npy"
    path.write_bytes(npy_bytes((np.load(path) + 1).astype(np.float32)))
    assert run(["parity", str(folder), "--data", str(data)]) == 1
    assert "L0: rows whose raw file gives other features is 1: expected == 0" in capsys.readouterr().out


def test_rows_that_do_not_travel_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = np.load(folder / "parity/features.npy")
    (folder / "parity/features.npy").write_bytes(npy_bytes(np.concatenate([features[:5], features[CASES:]])))
    change_json(folder, "parity/rows.json", carried=5)
    assert run(["parity", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "note: the features of 5 of 12 rows travel in the bundle; --data DATA reads all" in shown.err
    assert "on 5 rows" in shown.out


def test_a_bundle_that_was_exported_in_spite_of_its_verdict_warns(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_json(folder, "parity/report.json", verdict="fail")
    parity: dict[str, Any] = {"verdict": "fail", "scope": "graph", "rows": CASES, "failure_allowed": True}
    change_manifest(folder, parity=parity)
    for command in (["parity"], ["verify"]):
        assert run([*command, str(folder)]) == 0
        assert "warning: This bundle FAILED its parity gate" in capsys.readouterr().err
    assert run(["bench", str(folder), "--seconds", "0.5"]) == 0
    assert "note: This bundle FAILED its parity gate" in capsys.readouterr().out


def test_an_engine_that_is_still_to_be_built_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_json(folder, "parity/report.json", target="trt")
    change_manifest(folder, target="trt", engine={})
    assert run(["parity", str(folder)]) == 0
    shown = capsys.readouterr()
    assert f"engine parity is pending: the graph was compared; on the device: mstedge build {folder}" in shown.err
    assert "PASS: fp32 for trt (graph) on 12 rows" in shown.out
