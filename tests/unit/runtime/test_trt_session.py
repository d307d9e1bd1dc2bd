"""Running engines on a made-up TensorRT and CUDA: batches, graphs, waiting, failures, and what is given back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_factory import logits_of, model_bytes, network_weights
from fake_tensorrt import FakeTensorRt103
from fake_tensorrt_runtime import FakeDevice

from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import MachineError, SampleError
from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.runtime.trt.session import TensorRtSession
from mstedge.specs import ArraySpec

WEIGHTS, BIAS = network_weights(ArraySpec(shape=(4, 6)), 0)
MODEL = model_bytes((4, 6), WEIGHTS, BIAS)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice(tmp_path, FakeTensorRt103)
    device.install(monkeypatch, tmp_path / "cache")
    return device


def load(options: EngineOptions | None = None, **recipe: Any) -> TensorRtSession:
    taken, given = Tensor(name="features", shape=(4, 6)), Tensor(name="logits", shape=(3,))
    network = Network(MODEL, taken, given, "fp32", recipe=EngineRecipe(**recipe))
    session = backend_named("tensorrt").load(network, options or EngineOptions())
    assert isinstance(session, TensorRtSession)
    return session


def features_of(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 4, 6)).astype(np.float32)


def check(session: TensorRtSession, rows: int, seed: int = 0) -> None:
    features = features_of(rows, seed)
    np.testing.assert_allclose(session.run(features), logits_of(features, WEIGHTS, BIAS), atol=1e-5)


@pytest.mark.usefixtures("device")
class TestBatches:
    @pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
    def test_any_number_of_rows_goes_through(self, rows: int) -> None:
        check(load(min_batch_rows=2, best_batch_rows=3, max_batch_rows=4), rows)

    def test_smaller_batch_after_a_larger_one(self) -> None:
        session = load()
        for seed, rows in enumerate([8, 1, 5, 1, 1]):
            check(session, rows, seed)

    def test_shape_is_told_only_when_it_changes(self, device: FakeDevice) -> None:
        session = load()
        for rows in (1, 1, 1, 2, 2, 1):
            session.run(features_of(rows))
        assert device.module.contexts[0].shapes_set == 3

    def test_logits_do_not_lie_in_pinned_memory(self) -> None:
        session = load()
        found = session.run(features_of(1))
        kept = found.copy()
        session.close()
        np.testing.assert_array_equal(found, kept)


@pytest.mark.usefixtures("device")
class TestGraphs:
    def test_answers_are_the_same(self) -> None:
        session = load(EngineOptions(cuda_graphs=True), best_batch_rows=2)
        assert session.settings["CUDA graph"] == "for batches of 2"
        for seed, rows in enumerate([2, 2, 1, 2, 7, 2]):
            check(session, rows, seed)

    def test_context_of_the_graph_is_left_alone(self, device: FakeDevice) -> None:
        session = load(EngineOptions(cuda_graphs=True))
        for rows in (1, 3, 1, 5, 1):
            session.run(features_of(rows))
        plain, recorded = device.module.contexts
        assert (recorded.shapes_set, recorded.runs) == (1, 4)  # one before it was recorded, three replayed
        assert (plain.shapes_set, plain.runs) == (2, 2)

    def test_device_that_cannot_record_is_an_error_and_keeps_nothing(self, device: FakeDevice) -> None:
        device.cudart.fail_next("cudaStreamBeginCapture")
        with pytest.raises(MachineError, match="cudaStreamBeginCapture failed"):
            load(EngineOptions(cuda_graphs=True))
        assert device.cudart.live == 0

    def test_without_the_wish_there_is_none(self) -> None:
        assert load().settings["CUDA graph"] == "off"


class TestWaiting:
    def test_threads_sleep_unless_they_may_spin(self, device: FakeDevice) -> None:
        session = load()
        session.run(features_of(1))
        assert (device.cudart.waits(sleeping=True), device.cudart.waits(sleeping=False)) == (1, 0)
        assert session.settings["spinning"] == "off"

    def test_threads_may_spin(self, device: FakeDevice) -> None:
        session = load(EngineOptions(spinning=True))
        check(session, 1)
        assert (device.cudart.waits(sleeping=True), device.cudart.waits(sleeping=False)) == (0, 1)
        assert session.settings["spinning"] == "as CUDA decides"

    def test_every_thread_chooses_the_device(self, device: FakeDevice) -> None:
        session = load(EngineOptions(device="cuda:1"))
        device.cudart.library.cudaSetDevice(0)  # a thread of the user's program has another one
        other = threading.Thread(target=session.run, args=(features_of(1),))
        other.start()
        other.join()
        assert device.cudart.device == 1

    def test_threads_take_turns(self, device: FakeDevice) -> None:
        session = load(EngineOptions(cuda_graphs=True))
        inputs = [features_of(1 + seed % 3, seed) for seed in range(60)]
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(session.run, inputs))
        for features, logits in zip(inputs, found, strict=True):
            np.testing.assert_allclose(logits, logits_of(features, WEIGHTS, BIAS), atol=1e-5)
        assert device.builds == 1


@pytest.mark.usefixtures("device")
class TestDeviceTimes:
    def test_steps_are_told_apart_by_the_devices_clock(self) -> None:
        times = load().time_device(features_of(3))
        assert (times.copy_in_ms, times.network_ms, times.copy_out_ms) == (1.5, 1.5, 1.5)

    def test_events_are_given_back(self, device: FakeDevice) -> None:
        session = load()
        before = device.cudart.live
        session.time_device(features_of(1))
        assert device.cudart.live == before

    def test_batch_that_is_too_large(self) -> None:
        with pytest.raises(SampleError, match="9 rows: the engine takes at most 8 at once"):
            load().time_device(features_of(9))


class TestFailures:
    def test_failed_copy_is_an_error_and_the_next_run_works(self, device: FakeDevice) -> None:
        session = load()
        device.cudart.fail_next("cudaMemcpyAsync")
        with pytest.raises(MachineError, match="cudaMemcpyAsync failed: out of memory"):
            session.run(features_of(1))
        check(session, 2)

    @pytest.mark.parametrize("failing", ["cudaMalloc", "cudaHostAlloc", "cudaEventCreateWithFlags"])
    def test_failed_start_gives_everything_back(self, device: FakeDevice, failing: str) -> None:
        device.cudart.fail_next(failing)
        with pytest.raises(MachineError, match=f"{failing} failed"):
            load()
        assert device.cudart.live == 0

    @pytest.mark.parametrize("method", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
    def test_engine_that_says_no(self, monkeypatch: pytest.MonkeyPatch, device: FakeDevice, method: str) -> None:
        monkeypatch.setattr(f"fake_tensorrt_runtime.GraphContext.{method}", lambda *_: False)
        with pytest.raises(MachineError, match=r"^tensorrt 10\.3\.0: the engine "):
            load().run(features_of(1))
        assert device.builds == 1

    def test_no_room_for_a_context(self, monkeypatch: pytest.MonkeyPatch, device: FakeDevice) -> None:
        monkeypatch.setattr("fake_tensorrt_runtime.GraphEngine.create_execution_context", lambda _: None)
        with pytest.raises(MachineError, match="cannot make room for the engine on the device"):
            load()
        assert device.cudart.live == 0


def test_nothing_grows_with_the_answers(device: FakeDevice) -> None:
    session = load(EngineOptions(cuda_graphs=True))
    session.run(features_of(1))
    before = device.cudart.live
    for _ in range(300):
        session.run(features_of(1))
    assert device.cudart.live == before
    session.close()
    assert device.cudart.live == 0
