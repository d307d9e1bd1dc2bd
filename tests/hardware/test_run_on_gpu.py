"""What only a machine with a GPU can show: our calls of libcudart, TensorRT's engines and ONNX Runtime's CUDA compute.

Run it on a Jetson (JetPack 6.1 or newer) or a PC with a GPU: pytest -m hardware tests/hardware/test_run_on_gpu.py
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_factory import logits_of, model_bytes, network_weights

from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.trt.cudart import Cuda
from mstedge.runtime.trt.cudart_library import load_cudart
from mstedge.runtime.trt.device_buffers import DeviceBuffers
from mstedge.runtime.trt.session import TensorRtSession
from mstedge.specs import ArraySpec

pytestmark = pytest.mark.hardware  # made-up libraries stand in for the GPU everywhere else

WEIGHTS, BIAS = network_weights(ArraySpec(shape=(4, 6)), 0)
MODEL = model_bytes((4, 6), WEIGHTS, BIAS)
ROWS = (1, 3, 8, 20, 1)


def load(backend: str, **options: Any) -> EngineSession:
    network = Network(MODEL, Tensor(name="features", shape=(4, 6)), Tensor(name="logits", shape=(3,)), "fp32")
    return backend_named(backend).load(network, EngineOptions(**options))


def check(session: EngineSession) -> None:
    for seed, rows in enumerate(ROWS):
        features = np.random.default_rng(seed).normal(size=(rows, 4, 6)).astype(np.float32)
        np.testing.assert_allclose(session.run(features), logits_of(features, WEIGHTS, BIAS), atol=1e-4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSTEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_memory_goes_to_the_device_and_back() -> None:
    cuda = Cuda(load_cudart())
    buffers = DeviceBuffers(cuda, 64, (1000,), (1000,))
    buffers.host_in[:] = np.random.default_rng(0).normal(size=(64, 1000))
    buffers.copy_in(64)
    buffers.device_out, own = buffers.device_in, buffers.device_out
    buffers.copy_out(64)
    cuda.wait_for(buffers.stream)
    np.testing.assert_array_equal(buffers.host_out, buffers.host_in)
    buffers.device_out = own
    graph = cuda.captured(buffers.stream, lambda: buffers.copy_in(64))
    first, second = cuda.make_event(), cuda.make_event()
    cuda.record(first, buffers.stream)
    cuda.launch(graph, buffers.stream)
    cuda.record(second, buffers.stream)
    cuda.wait_for_event(second)
    assert 0 < cuda.milliseconds_between(first, second) < 1000
    cuda.drop_graph(graph)
    for event in (first, second):
        cuda.drop_event(event)
    buffers.close()


@pytest.mark.parametrize("options", [{}, {"spinning": True}, {"cuda_graphs": True}], ids=["plain", "spinning", "graph"])
def test_tensorrt_computes(options: dict[str, bool]) -> None:
    session = load("tensorrt", **options)
    assert isinstance(session, TensorRtSession)
    check(session)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: check(session), range(8)))
    times = session.time_device(np.zeros((2, 4, 6), dtype=np.float32))
    assert times.network_ms > 0
    session.close()


def test_tensorrt_takes_its_engine_from_the_cache() -> None:
    assert load("tensorrt").settings["engine"].startswith("built now")
    again = load("tensorrt")
    assert again.settings["engine"] == "from this machine's cache"
    check(again)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_onnxruntime_computes_where_it_says(device: str) -> None:
    if device not in backend_named("onnxruntime").devices():
        pytest.skip(f"this build of onnxruntime has no provider for {device}")
    session = load("onnxruntime", device=device)
    assert session.device.startswith("CUDA:0")
    check(session)
