"""CUDA's runtime through ctypes, on a made-up libcudart that checks what it is handed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cudart import FakeCudart

from mstedge.errors import MachineError
from mstedge.runtime.trt import cudart_library
from mstedge.runtime.trt.cudart import Cuda
from mstedge.runtime.trt.cudart_library import candidates, load_cudart
from mstedge.runtime.trt.device_buffers import DeviceBuffers

MAPPED = """\
7f00-7f01 r--p 00000000 08:01 12 /opt/wheels/nvidia/cu13/lib/libcudart.so.13
7f01-7f02 r-xp 00001000 08:01 12 /opt/wheels/nvidia/cu13/lib/libcudart.so.13
7f02-7f03 r-xp 00001000 08:01 13 /usr/local/cuda-11.4/lib64/libcudart.so.11.4.298
7f03-7f04 r-xp 00001000 08:01 14 /usr/lib/libc.so.6
"""


@pytest.fixture
def cudart(tmp_path: Path) -> FakeCudart:
    return FakeCudart(tmp_path)


class TestCalls:
    def test_version(self, cudart: FakeCudart) -> None:
        assert Cuda(cudart.library).version == "12.6"

    def test_device_is_chosen(self, cudart: FakeCudart) -> None:
        Cuda(cudart.library, 1)
        assert cudart.device == 1

    def test_device_that_is_not_there(self, cudart: FakeCudart) -> None:
        with pytest.raises(MachineError, match=r"cudaSetDevice failed: another error \(101\)") as caught:
            Cuda(cudart.library, 7)
        assert caught.value.exit_code == 3

    def test_addresses_have_all_their_bits(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        stream, device, host = cuda.make_stream(), cuda.allocate(1 << 20), cuda.allocate_pinned(1 << 20)
        assert max(device, host) > 1 << 32
        cuda.copy_to_device(device, host, 1 << 20, stream)
        cuda.copy_to_host(host, device, 1 << 20, stream)
        cuda.wait_for(stream)
        cuda.drop_stream(stream)
        cuda.free(device)
        cuda.free_pinned(host)
        assert cudart.live == 0

    def test_error_is_cudas_own(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        cudart.fail_next("cudaMalloc")
        with pytest.raises(MachineError, match=r"CUDA: cudaMalloc failed: out of memory \(2\)"):
            cuda.allocate(8)

    def test_copy_to_the_wrong_side_is_seen(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        stream, device, host = cuda.make_stream(), cuda.allocate(8), cuda.allocate_pinned(8)
        with pytest.raises(MachineError, match=r"cudaMemcpyAsync failed: another error \(1\)"):
            cuda.copy_to_device(host, device, 8, stream)

    def test_events_tell_the_time_between_them(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        stream, first, second = cuda.make_stream(), cuda.make_event(), cuda.make_event()
        cuda.record(first, stream)
        cuda.record(second, stream)
        with pytest.raises(MachineError, match="cudaEventElapsedTime"):
            cuda.milliseconds_between(first, second)  # they have not happened yet
        cuda.wait_for(stream)
        assert cuda.milliseconds_between(first, second) == 1.5

    def test_library_that_lacks_a_function(self) -> None:
        with pytest.raises(MachineError, match="has no cudaGetDeviceCount") as caught:
            Cuda(SimpleNamespace())
        assert "CUDA 12" in str(caught.value.hint)


class TestGraphs:
    def test_work_is_recorded_and_not_done(self, cudart: FakeCudart) -> None:
        cuda, done = Cuda(cudart.library), list[int]()
        stream = cuda.make_stream()
        graph = cuda.captured(stream, lambda: cudart.enqueue(stream, lambda: done.append(1)))
        cuda.wait_for(stream)
        assert done == []
        for _ in range(3):
            cuda.launch(graph, stream)
        cuda.wait_for(stream)
        assert done == [1, 1, 1]
        cuda.drop_graph(graph)
        cuda.drop_stream(stream)
        assert cudart.live == 0

    def test_error_in_between_leaves_a_stream_that_works(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        stream = cuda.make_stream()

        def break_off() -> None:
            raise KeyError("in between")

        with pytest.raises(KeyError, match="in between"):
            cuda.captured(stream, break_off)
        cuda.wait_for(stream)
        cuda.drop_stream(stream)
        assert cudart.live == 0

    def test_waiting_in_between_is_refused(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        stream = cuda.make_stream()
        with pytest.raises(MachineError, match=r"cudaStreamSynchronize failed: another error \(900\)"):
            cuda.captured(stream, lambda: cuda.wait_for(stream))

    def test_graph_that_cannot_be_made(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        stream = cuda.make_stream()
        cudart.fail_next("cudaGraphInstantiateWithFlags")
        with pytest.raises(MachineError, match="cudaGraphInstantiateWithFlags failed"):
            cuda.captured(stream, lambda: None)
        cuda.drop_stream(stream)
        assert cudart.live == 0


class TestBuffers:
    def test_there_and_back(self, cudart: FakeCudart) -> None:
        cuda = Cuda(cudart.library)
        buffers = DeviceBuffers(cuda, 4, (2, 3), (6,))
        buffers.host_in[:2] = np.arange(12).reshape(2, 2, 3)
        buffers.copy_in(2)
        cuda.wait_for(buffers.stream)
        buffers.device_out = buffers.device_in  # what an engine that hands on its input would do
        buffers.copy_out(2)
        cuda.wait_for(buffers.stream)
        np.testing.assert_array_equal(buffers.host_out[:2].reshape(-1), np.arange(12))

    @pytest.mark.parametrize("failing", ["cudaMalloc", "cudaHostAlloc"])
    def test_too_little_memory_leaves_nothing_behind(self, cudart: FakeCudart, failing: str) -> None:
        cuda = Cuda(cudart.library)
        cudart.fail_next(failing)
        with pytest.raises(MachineError, match=f"{failing} failed: out of memory"):
            DeviceBuffers(cuda, 4, (2,), (2,))
        assert cudart.live == 0


class TestFinding:
    def test_what_tensorrt_has_loaded_comes_first(self, tmp_path: Path) -> None:
        mapped, cuda, site = tmp_path / "maps", tmp_path / "cuda", tmp_path / "site"
        mapped.write_text(MAPPED)
        board = cuda / "targets/aarch64-linux/lib/libcudart.so.12"
        wheel = site / "nvidia/cuda_runtime/lib/libcudart.so.12"
        for path in (board, wheel):
            path.parent.mkdir(parents=True)
            path.touch()
        found = list(candidates(mapped, cuda, [str(site)]))
        assert found == [
            "/opt/wheels/nvidia/cu13/lib/libcudart.so.13",
            "libcudart.so.13",
            "libcudart.so.12",
            str(board),
            str(wheel),
        ]

    def test_machine_without_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cudart_library, "candidates", lambda: iter(["libno-such-cudart.so.12"]))
        with pytest.raises(MachineError, match=r"libcudart\.so\.13 or libcudart\.so\.12\) cannot be found") as caught:
            load_cudart()
        assert "nvidia-cuda-runtime" in str(caught.value.hint)
