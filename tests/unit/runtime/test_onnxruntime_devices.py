"""Where ONNX Runtime computes: what is asked for is had, refused, or where that is allowed, noted."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
from bundle_factory import logits_of, model_bytes, network_weights
from fake_onnxruntime import FakeGpuBuild

from mstedge.errors import MachineError, UsageError
from mstedge.limits import Precision
from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.backends.onnxruntime_providers import Placement, arithmetic_on, install_hint, provider_options
from mstedge.specs import ArraySpec

WEIGHTS, BIAS = network_weights(ArraySpec(shape=(4, 6)), 0)
MODEL = model_bytes((4, 6), WEIGHTS, BIAS)


def load(options: EngineOptions, precision: Precision = "fp32") -> EngineSession:
    network = Network(MODEL, Tensor(name="features", shape=(4, 6)), Tensor(name="logits", shape=(3,)), precision)
    return backend_named("onnxruntime").load(network, options)


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpuBuild:
    monkeypatch.setenv("MSTEDGE_CACHE", str(tmp_path / "cache"))
    build = FakeGpuBuild(nodes={"CUDA": 2})
    monkeypatch.setitem(sys.modules, "onnxruntime", build)
    return build


class TestCpuBuild:
    def test_cuda_is_refused_with_the_way_to_it(self) -> None:
        with pytest.raises(MachineError, match=r"'cuda' was asked for: this build .* has no CUDA") as caught:
            load(EngineOptions(device="cuda"))
        assert caught.value.exit_code == 3
        assert "onnxruntime-gpu" in str(caught.value.hint)
        assert "--allow-fallback" in str(caught.value.hint)

    def test_fallback_is_noted_at_once_and_in_the_session(self) -> None:
        heard: list[str] = []
        session = load(EngineOptions(device="cuda:1", allow_fallback=True, note=heard.append))
        assert session.device == "CPU"
        assert session.notes == tuple(heard)
        assert "the CPU is used instead" in heard[0]
        features = np.ones((2, 4, 6), dtype=np.float32)
        np.testing.assert_allclose(session.run(features), logits_of(features, WEIGHTS, BIAS), atol=1e-5)

    @pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:one", "cpu:1", "GPU.0", "cuda:123"])
    def test_other_devices_are_not_understood(self, device: str) -> None:
        with pytest.raises(UsageError, match="knows no device") as caught:
            load(EngineOptions(device=device))
        assert "choose from: cpu, cuda, cuda:1, tensorrt" in str(caught.value.hint)

    @pytest.mark.parametrize("device", ["cpu", " CPU "])
    def test_cpu_by_name(self, device: str) -> None:
        assert load(EngineOptions(device=device)).device == "CPU"

    def test_cuda_graphs_are_refused(self) -> None:
        with pytest.raises(MachineError, match="only the backend tensorrt"):
            load(EngineOptions(cuda_graphs=True))


class TestSettings:
    def test_what_is_set_is_read_back(self) -> None:
        settings = load(EngineOptions(threads=3)).settings
        assert settings["threads"].startswith("3 in an operator")
        assert (settings["spinning"], settings["memory arena"]) == ("off", "on")
        assert settings["affinity"] == "all cores of the process"
        assert load(EngineOptions(spinning=True)).settings["spinning"] == "on"

    def test_engine_threads_go_to_the_cores_that_were_asked_for(self) -> None:
        core, before = min(os.sched_getaffinity(0)), threads_and_cores()
        session = load(EngineOptions(threads=3, affinity=(core,)))
        started = {thread: cores for thread, cores in threads_and_cores().items() if thread not in before}
        assert list(started.values()) == [{core}, {core}]
        assert session.settings["affinity"] == f"cores {core} for 2 of the engine's threads; the caller's is its own"
        assert threads_and_cores()[os.getpid()] == before[os.getpid()]

    def test_without_threads_of_its_own_nothing_is_bound_and_that_is_said(self) -> None:
        session = load(EngineOptions(affinity=(min(os.sched_getaffinity(0)),)))
        assert session.threads == 1  # one for each core that was asked for
        assert session.settings["affinity"] == "none: the only thread is the caller's"

    @pytest.mark.parametrize("cores", [(), (-1,)])
    def test_affinity_that_makes_no_sense(self, cores: tuple[int, ...]) -> None:
        with pytest.raises(UsageError, match="expected numbers of cores"):
            EngineOptions(affinity=cores)

    def test_empty_device(self) -> None:
        with pytest.raises(UsageError, match="device is empty"):
            EngineOptions(device=" ")


def threads_and_cores() -> dict[int, set[int]]:
    tasks = [int(path.name) for path in Path("/proc/self/task").iterdir()]
    return {task: os.sched_getaffinity(task) for task in tasks}


class TestGpuBuild:
    def test_cuda_is_told_which_device_and_to_keep_float32(self, gpu_build: FakeGpuBuild) -> None:
        session = load(EngineOptions(device="cuda:1"))
        (asked,) = gpu_build.asked
        assert (asked.provider, asked.told) == ("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})
        assert (session.device, session.notes) == ("CUDA:1", ())
        assert session.settings["CUDA"] == "device_id=1 use_tf32=0"
        assert session.settings["nodes"] == "2 CUDA"

    def test_its_own_silent_fallback_is_off(self, gpu_build: FakeGpuBuild) -> None:
        load(EngineOptions(device="cuda"))
        assert gpu_build.asked[0].enable_fallback == 0

    def test_nothing_stays_on_the_cpu_without_a_word(self, gpu_build: FakeGpuBuild) -> None:
        gpu_build.nodes = {"CUDA": 5, "CPU": 1}
        session = load(EngineOptions(device="cuda"))
        assert session.device == "CUDA:0 and CPU"
        assert session.notes == ("1 of 6 nodes run on the CPU: CUDAExecutionProvider does not take them",)

    def test_provider_that_takes_no_node_is_not_had(self, gpu_build: FakeGpuBuild) -> None:
        gpu_build.nodes = {"CPU": 2}
        with pytest.raises(MachineError, match="takes none of the model's nodes"):
            load(EngineOptions(device="cuda"))
        assert load(EngineOptions(device="cuda", allow_fallback=True)).device == "CPU"

    def test_version_that_does_not_tell(self, gpu_build: FakeGpuBuild) -> None:
        gpu_build.nodes = None
        assert "does not tell" in load(EngineOptions(device="cuda")).settings["nodes"]

    def test_provider_that_does_not_start_is_an_error(self, gpu_build: FakeGpuBuild) -> None:
        gpu_build.starts = False
        with pytest.raises(MachineError, match="could not start its CUDAExecutionProvider"):
            load(EngineOptions(device="cuda"))
        session = load(EngineOptions(device="cuda", allow_fallback=True))
        assert session.device == "CPU"
        assert gpu_build.asked[-1].provider == "CPUExecutionProvider"

    def test_complaint_of_the_provider_is_passed_on(self, gpu_build: FakeGpuBuild) -> None:
        gpu_build.fails = "CUDA failure 35: driver is too old\nand so on"
        with pytest.raises(MachineError, match=r"on CUDA:0: CUDA failure 35: driver is too old") as caught:
            load(EngineOptions(device="cuda"))
        assert caught.value.message.endswith("driver is too old")

    def test_what_the_library_prints_does_not_reach_the_result(
        self, gpu_build: FakeGpuBuild, capsys: pytest.CaptureFixture[str]
    ) -> None:
        load(EngineOptions(device="cuda"))
        assert gpu_build.asked
        assert capsys.readouterr().out == ""

    def test_tensorrt_keeps_its_engines_in_a_private_folder_of_ours(
        self, gpu_build: FakeGpuBuild, tmp_path: Path
    ) -> None:
        gpu_build.nodes = {"Tensorrt": 2}
        session = load(EngineOptions(device="tensorrt"), "fp16")
        cache = tmp_path / "cache" / "engines" / "onnxruntime"
        told = gpu_build.asked[0].told
        assert (told["trt_engine_cache_path"], told["trt_fp16_enable"]) == (str(cache), "True")
        assert cache.stat().st_mode & 0o777 == 0o700
        assert session.device == "CUDA:0 through TensorRT"
        assert session.arithmetic == "float16 or float32, as TensorRT chose"

    @pytest.mark.usefixtures("gpu_build")
    def test_devices_that_can_be_asked_for(self) -> None:
        assert backend_named("onnxruntime").devices() == ("cpu", "cuda", "tensorrt")


def test_tensorrt_is_told_no_precision_that_the_graph_does_not_have() -> None:
    told = provider_options(Placement("tensorrt"), "fp32", "/cache")
    assert (told["trt_fp16_enable"], told["trt_int8_enable"]) == ("False", "False")
    assert provider_options(Placement("tensorrt"), "int8", "/cache")["trt_int8_enable"] == "True"


def test_arithmetic_depends_on_the_device() -> None:
    assert arithmetic_on(Placement("cuda"), "fp16") == "float16"
    assert arithmetic_on(Placement("cpu"), "fp16") == "float32 where the CPU has no float16 operator"


@pytest.mark.parametrize(
    ("machine", "l4t", "line"),
    [
        ("x86_64", None, "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        ("aarch64", "36.4.7", "--index-url https://pypi.jetson-ai-lab.io/jp6/cu126"),
        ("aarch64", "38.2.1", "Python 3.12, CUDA 13"),
    ],
)
def test_way_to_a_gpu_build(machine: str, l4t: str | None, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert line in install_hint(Placement("cuda"), l4t)
    assert "pip uninstall -y onnxruntime &&" in install_hint(Placement("cuda"), l4t)
