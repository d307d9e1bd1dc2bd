"""The TensorRT backend on a made-up device: the cache, what makes it build, what it refuses and what it tells."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_factory import logits_of, model_bytes, network_weights
from fake_tensorrt import FakeTensorRt11, FakeTensorRt103
from fake_tensorrt_runtime import ORIN, FakeDevice
from real_rtx import NO_GPU, rtx_or_skip

from mstedge.engine_build import Gpu
from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import BundleError, MachineError, UsageError
from mstedge.manifest import Tensor
from mstedge.runtime.backends import BACKENDS, EngineOptions, EngineSession, Network, choose_backend
from mstedge.runtime.trt.gpu import GpuState
from mstedge.runtime.trt.making import ready_engine
from mstedge.specs import ArraySpec

WEIGHTS, BIAS = network_weights(ArraySpec(shape=(4, 6)), 0)
NETWORK = Network(
    model_bytes((4, 6), WEIGHTS, BIAS),
    Tensor(name="features", shape=(4, 6)),
    Tensor(name="logits", shape=(3,)),
    "fp32",
    name="made",
)
FEATURES = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "engines"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice(tmp_path, FakeTensorRt103)
    device.install(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("mstedge.runtime.environment.l4t_release", lambda: "36.4.7")
    return device


def load(network: Network = NETWORK, **options: Any) -> EngineSession:
    return BACKENDS["tensorrt"].load(network, EngineOptions(**options))


def check(session: EngineSession) -> None:
    np.testing.assert_allclose(session.run(FEATURES), logits_of(FEATURES, WEIGHTS, BIAS), atol=1e-5)


class TestCache:
    def test_first_load_builds_and_says_why_at_once(self, device: FakeDevice) -> None:
        heard: list[str] = []
        session = load(note=heard.append)
        check(session)
        why = "there is no engine of this model in this machine's cache yet"
        assert heard == [f"building the engine with TensorRT 10.3.0: {why}"]
        assert session.notes == tuple(heard)
        assert session.settings["engine"] == f"built now: {why}"
        assert device.builds == 1

    def test_second_load_does_not_build(self, device: FakeDevice) -> None:
        load()
        session = load()
        check(session)
        assert (device.builds, session.notes) == (1, ())
        assert session.settings["engine"] == "from this machine's cache"

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ("version", "its version was 10.3.0, is 10.4.0"),
            ("recipe", "max_batch_rows was 8, is 4"),
            ("gpu", "the GPU was Orin, is Orin NX"),
            ("board", "the driver was L4T 36.4.7, is L4T 36.5.0"),
            ("model", "there is no engine of this model"),
        ],
    )
    def test_any_change_builds_again_with_its_reason(
        self, device: FakeDevice, monkeypatch: pytest.MonkeyPatch, change: str, reason: str
    ) -> None:
        load()
        network = NETWORK
        if change == "version":
            device.module.__version__ = "10.4.0"
        if change == "recipe":
            network = replace(NETWORK, recipe=EngineRecipe(max_batch_rows=4))
        if change == "gpu":
            other = GpuState(Gpu(name="Orin NX", compute_capability="8.7"), "")
            monkeypatch.setattr("mstedge.runtime.trt.gpu.find_gpu", lambda **_: other)
        if change == "board":
            monkeypatch.setattr("mstedge.runtime.environment.l4t_release", lambda: "36.5.0")
        if change == "model":
            network = replace(NETWORK, onnx=model_bytes((4, 6), WEIGHTS, BIAS + 1))
        session = load(network)
        assert device.builds == 2
        assert reason in session.notes[0]
        assert "\n" not in session.notes[0]

    def test_damaged_engine_is_built_again(self, device: FakeDevice, cache: Path) -> None:
        load()
        (plan,) = cache.glob("*.plan")
        plan.write_bytes(plan.read_bytes()[:-1] + b"!")
        session = load()
        check(session)
        assert device.builds == 2
        assert session.notes[0].endswith("the engine in this machine's cache is damaged")
        assert load().notes == ()

    def test_engine_that_tensorrt_cannot_read_is_built_again_once(self, device: FakeDevice) -> None:
        load()
        device.module.refuses_plans = 1
        session = load()
        check(session)
        assert device.builds == 2
        assert "cannot read the engine in this machine's cache: the plan is from somewhere else" in session.notes[0]

    def test_engine_that_cannot_be_read_even_when_new_is_an_error(self, device: FakeDevice) -> None:
        device.module.refuses_plans = 9
        with pytest.raises(MachineError, match="cannot read the engine"):
            load()
        assert device.builds == 1

    def test_new_engine_takes_the_place_of_the_unreadable_one(self, device: FakeDevice) -> None:
        load()
        device.module.refuses_plans = 9
        with pytest.raises(MachineError, match="cannot read the engine"):
            load()
        assert device.builds == 2

    def test_cache_that_others_can_read_is_refused(self, device: FakeDevice, cache: Path) -> None:
        load()
        cache.chmod(0o755)
        with pytest.raises(MachineError, match="others have the rights 055"):
            load()
        assert device.builds == 1

    @pytest.mark.usefixtures("device")
    def test_engine_runs_where_the_cache_cannot_be_written(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        load()
        (plan,) = cache.glob("*.plan")
        plan.unlink()

        def read_only(*_: object, **__: object) -> None:
            raise UsageError("index.json: cannot be written: Read-only file system")

        monkeypatch.setattr("mstedge.runtime.trt.making.write_engine", read_only)
        session = load()
        check(session)
        assert session.notes[-1].startswith("the engine cannot be kept and will be built again: index.json")

    def test_code_of_the_host_is_allowed_only_where_the_recipe_puts_it_in(
        self, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Any] = []
        runtime = device.module.Runtime
        monkeypatch.setattr(device.module, "Runtime", lambda logger: made.append(runtime(logger)) or made[-1])
        load()
        load(replace(NETWORK, recipe=EngineRecipe(version_compatible=True)))
        assert [each.engine_host_code_allowed for each in made] == [False, True]


class TestReports:
    @pytest.mark.usefixtures("device")
    def test_what_was_really_used(self) -> None:
        session = load(device="cuda:1")
        assert (session.backend, session.device) == ("tensorrt 10.3.0", "CUDA:1 Orin")
        assert (session.arithmetic, session.threads) == ("float32", 1)
        settings = session.settings
        assert settings["batches"] == "1 to 8 rows at once, tuned for 1"
        assert (settings["driver"], settings["CUDA"], settings["TF32"]) == ("L4T 36.4.7", "12.6", "off")

    @pytest.mark.usefixtures("device")
    def test_availability_names_version_and_gpu(self) -> None:
        found = BACKENDS["tensorrt"].available()
        assert (found.available, found.reason) == (True, "tensorrt 10.3.0 is installed, the GPU is Orin")

    @pytest.mark.usefixtures("device")
    @pytest.mark.parametrize("asked", ["cpu", "tensorrt", "cuda:", "0"])
    def test_other_devices_are_not_understood(self, asked: str) -> None:
        with pytest.raises(UsageError, match="tensorrt knows no device"):
            load(device=asked)

    @pytest.mark.usefixtures("device")
    def test_model_that_is_not_one_is_never_parsed(self, device: FakeDevice) -> None:
        with pytest.raises(BundleError, match=r"cannot be loaded by TensorRT 10\.3\.0"):
            load(replace(NETWORK, onnx=b"not a model"))
        assert device.builds == 0

    def test_engine_that_is_not_what_the_manifest_says(
        self, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fake_tensorrt_runtime.GraphEngine.get_tensor_shape", lambda *_: (-1, 5))
        with pytest.raises(BundleError, match=r"cannot be loaded by TensorRT 10\.3\.0: .*has shape \[\?, 5\]"):
            load()
        assert device.cudart.live == 0


class TestNotUsable:
    def test_no_gpu_is_said_before_tensorrt_is_imported(
        self, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mstedge.runtime.trt.gpu.find_gpu", lambda **_: NO_GPU)
        monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
        found = BACKENDS["tensorrt"].available()
        assert not found.available
        assert "builds only where a GPU is: this test takes no GPU" in found.reason
        assert device.builds == 0

    def test_both_are_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        monkeypatch.setattr("mstedge.runtime.trt.gpu.find_gpu", lambda **_: NO_GPU)
        found = BACKENDS["tensorrt"].available()
        assert found.reason == "TensorRT is not installed here; this test takes no GPU"
        assert found.hint
        assert BACKENDS["tensorrt"].devices() == ()

    @pytest.mark.usefixtures("device")
    def test_jetpack_6_0_is_refused_with_what_to_use_instead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mstedge.runtime.environment.l4t_release", lambda: "36.3.0")
        found = BACKENDS["tensorrt"].available()
        assert not found.available
        assert "JetPack 6.0 or older" in found.reason
        assert "ONNX Runtime" in str(found.hint)

    @pytest.mark.usefixtures("device")
    def test_tensorrt_8_is_refused(self, device: FakeDevice) -> None:
        device.module.__version__ = "8.6.2"
        assert "TensorRT 8.6.2 is installed" in BACKENDS["tensorrt"].available().reason

    def test_no_cuda_runtime(self, device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> None:
            raise MachineError("CUDA's runtime library cannot be found", hint="pip install it")

        monkeypatch.setattr("mstedge.runtime.trt.cudart_library.load_cudart", missing)
        found = BACKENDS["tensorrt"].available()
        assert (found.available, found.hint) == (False, "pip install it")
        assert device.builds == 0


class TestChoice:
    @pytest.mark.usefixtures("device")
    def test_bundle_for_tensorrt_runs_there(self) -> None:
        backend, notes = choose_backend(None, "trt", EngineOptions())
        assert (backend.name, notes) == ("tensorrt", ())

    @pytest.mark.usefixtures("device")
    @pytest.mark.parametrize(("target", "name"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
    def test_other_bundles_run_where_they_are_for(self, target: Any, name: str) -> None:
        assert choose_backend(None, target, EngineOptions())[0].name == name

    def test_without_tensorrt_the_graph_runs_and_that_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        heard: list[str] = []
        backend, notes = choose_backend(None, "trt", EngineOptions(note=heard.append))
        assert backend.name == "onnxruntime"
        assert notes == tuple(heard)
        assert "TensorRT is not installed here" in heard[0]

    def test_what_was_asked_for_is_not_replaced_unless_that_is_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(MachineError, match="'tensorrt' cannot be used here"):
            choose_backend("tensorrt", "trt", EngineOptions())
        backend, notes = choose_backend("tensorrt", "trt", EngineOptions(allow_fallback=True))
        assert backend.name == "onnxruntime"
        assert notes[0].endswith("onnxruntime runs the network instead")

    def test_misspelt_backend(self) -> None:
        with pytest.raises(UsageError, match="there is no backend 'tensort'"):
            choose_backend("tensort", "trt", EngineOptions(allow_fallback=True))


def test_eleven_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice(tmp_path, FakeTensorRt11)
    device.install(monkeypatch, tmp_path / "cache")
    check(load())
    assert device.module.__version__.startswith("11.")
    assert ORIN.gpu is not None


def test_cache_with_the_real_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX builds without a GPU: the cache is tried with true plans, which nothing here can run."""
    rtx = rtx_or_skip()
    monkeypatch.setenv("MSTEDGE_CACHE", str(tmp_path / "cache"))
    heard: list[str] = []
    first = ready_engine(NETWORK, rtx, heard.append)
    again = ready_engine(NETWORK, rtx, heard.append)
    assert (again.plan, again.built_because) == (first.plan, "")
    (plan,) = (tmp_path / "cache" / "engines").glob("*.plan")
    plan.write_bytes(first.plan[:-1])
    assert ready_engine(NETWORK, rtx, heard.append).built_because.endswith("is damaged")
    larger = ready_engine(replace(NETWORK, recipe=EngineRecipe(max_batch_rows=16)), rtx, heard.append)
    assert larger.built_because.endswith("max_batch_rows was 8, is 16")
    assert larger.record.profile.largest == (16, 4, 6)
    assert len(heard) == 3
