"""`mstedge build`: what it shows and keeps, what it refuses, and that it says what it has not proved."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from bundle_factory import change_json, change_manifest, make_bundle
from fake_tensorrt import FakeTensorRt11
from real_rtx import NO_GPU, rtx_or_skip

from mstedge.cli import run
from mstedge.engine_build import EngineBuild, Gpu
from mstedge.files import sha256_of_file
from mstedge.runtime.trt.gpu import GpuState
from mstedge.schema import read_json

RECIPE = {"best_batch_rows": 2, "max_batch_rows": 5, "workspace_bytes": 64 << 20}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSTEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mstedge.runtime.trt.gpu.find_gpu", lambda: NO_GPU)
    return tmp_path / "cache" / "engines"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_bundle(tmp_path_factory.mktemp("bundles") / "array", "array")
    change_json(folder, "parity/report.json", target="trt")
    return change_manifest(folder, target="trt", engine=RECIPE)


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "array.bundle"))


def contents(folder: Path) -> dict[str, str]:
    return {str(path): sha256_of_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def rtx() -> None:
    rtx_or_skip()


@pytest.mark.usefixtures("rtx")
class TestBuilt:
    def test_card(self, bundle: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["build", str(bundle)]) == 0
        shown = capsys.readouterr().out
        rows = dict(line.split("  ", maxsplit=1) for line in shown.splitlines() if "  " in line)
        card = {key: value.strip() for key, value in rows.items()}
        assert card["built by"].startswith("TensorRT-RTX 1.")
        assert card["GPU"] == "none"
        assert card["input"] == "features float32 [batch, 4, 6]"
        assert card["output"] == "logits float32 [batch, 3]"
        assert card["batches"] == "1 to 5 rows, tuned for 2"
        assert "1 MATRIX_MULTIPLY" in card["layers"]
        assert card["precision"] == ("fp32: 1 of 1 layers with weights compute in float32, no layer gives fewer bits")
        assert card["recipe"] == "workspace 64 MiB, optimisation level 3"
        assert card["note"].startswith("built with TensorRT-RTX: TensorRT is ")
        assert shown.splitlines()[-1] == "engine parity pending: no GPU here, so the engine cannot run"
        (plan,) = cache.glob("*.plan")
        assert f"kept in {plan}" in shown

    def test_record_tells_of_the_plan(self, bundle: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["build", str(bundle), "--json"]) == 0
        record = msgspec.json.decode(capsys.readouterr().out, type=EngineBuild)
        (plan,) = cache.glob("*.plan")
        content = plan.read_bytes()
        assert (record.plan_sha256, record.plan_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        assert record.model_sha256 == sha256_of_file(bundle / "model.onnx")
        assert record.recipe.max_batch_rows == 5
        assert (record.library, record.gpu, record.parity) == ("tensorrt-rtx", None, "pending")
        assert read_json(cache / f"{plan.name}.json", EngineBuild) == record

    def test_bundle_is_not_touched(self, bundle: Path) -> None:
        before = contents(bundle)
        assert run(["build", str(bundle)]) == 0
        assert contents(bundle) == before

    def test_copy_for_other_programs(
        self, bundle: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "array.plan"
        assert run(["build", str(bundle), "--library", "tensorrt-rtx", "-o", str(output)]) == 0
        (plan,) = cache.glob("*.plan")
        assert output.read_bytes() == plan.read_bytes()
        assert read_json(tmp_path / "array.plan.json", EngineBuild).plan_bytes == len(output.read_bytes())
        assert f"copied to {output}, its record to {output}.json" in capsys.readouterr().out

    def test_building_twice_leaves_one_engine(self, bundle: Path, cache: Path) -> None:
        assert run(["build", str(bundle)]) == 0
        assert run(["build", str(bundle)]) == 0
        assert len(list(cache.glob("*.plan*"))) == 2  # the plan and its record

    def test_failed_gate_is_shown(self, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        parity = {"verdict": "fail", "scope": "graph", "rows": 8, "failure_allowed": True}
        change_json(bundle, "parity/report.json", verdict="fail")
        change_manifest(bundle, parity=parity)
        assert run(["build", str(bundle)]) == 0
        assert "FAILED its parity gate" in capsys.readouterr().err

    def test_claim_that_is_not_so_leaves_no_engine(
        self, bundle: Path, cache: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        change_json(bundle, "parity/report.json", precision="fp16")
        change_manifest(bundle, precision="fp16")
        assert run(["build", str(bundle)]) == 1
        assert "the bundle is fp16, but none of the 1 layers with weights computes in it" in capsys.readouterr().err
        assert list(cache.glob("*.plan*")) == []

    @pytest.mark.parametrize("inside", ["digits.plan", "golden/digits.plan"])
    def test_engine_never_goes_into_a_bundle(
        self, bundle: Path, inside: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = contents(bundle)
        assert run(["build", str(bundle), "-o", str(bundle / inside)]) == 2
        assert "lies inside a bundle" in capsys.readouterr().err
        assert contents(bundle) == before

    def test_copy_onto_a_folder_is_refused(
        self, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["build", str(bundle), "-o", str(tmp_path)]) == 2
        assert "is a folder" in capsys.readouterr().err


def test_bundle_for_another_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "onnx.bundle", "array")
    assert run(["build", str(folder)]) == 2
    shown = capsys.readouterr().err
    assert "is for the target 'onnx'" in shown
    assert "mstedge export RUN --target trt" in shown


def test_library_that_does_not_exist(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", str(bundle), "--library", "tensorrt-rxt"]) == 2
    assert "did you mean 'tensorrt-rtx'?" in capsys.readouterr().err


def test_no_tensorrt_at_all(
    bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run(["build", str(bundle)]) == 3
    shown = capsys.readouterr().err
    assert "TensorRT is not installed here; TensorRT-RTX is not installed here" in shown
    assert "hint: " in shown
    assert not cache.exists()


def test_tampered_bundle_is_not_built(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes() + b"\0")
    assert run(["build", str(bundle)]) == 1
    assert "model.onnx" in capsys.readouterr().err


def test_engine_for_a_gpu_says_how_it_is_compared(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for TensorRT 11 on a board: its one network is that of a small bundle."""
    gpu = GpuState(Gpu(name="Orin", compute_capability="8.7"), "")
    monkeypatch.setattr("mstedge.runtime.trt.gpu.find_gpu", lambda: gpu)
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt11(shape=(4, 6)))
    folder = make_bundle(tmp_path / "board.bundle", "array")
    change_json(folder, "parity/report.json", target="trt")
    change_manifest(folder, target="trt", engine={})
    assert run(["build", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Orin, compute capability 8.7" in shown
    assert shown.splitlines()[-1] == (
        "engine parity pending: compare it here: mstedge parity BUNDLE --backend tensorrt"
    )
    assert len(list(cache.glob("*.timing"))) == 1
