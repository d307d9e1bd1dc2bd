"""The memory of one engine: pinned on the host, its twin on the device, one stream between them."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from mstedge.runtime.backends.protocol import Floats
    from mstedge.runtime.trt.cudart import Cuda

_FLOAT_BYTES = 4


class DeviceBuffers:
    """Room for the largest batch, taken once: nothing is allocated while answers are computed.

    Attributes:
        stream: The one stream that everything is enqueued to.
        device_in: Address of the input on the device.
        device_out: Address of the output on the device.
        host_in: Pinned memory, float32 [largest, *input].
        host_out: Pinned memory, float32 [largest, *output].

    Args:
        cuda: The device.
        largest: Most rows of a batch.
        taken: Shape of one sample.
        given: Shape of one answer.

    Raises:
        MachineError: The memory cannot be had.
    """

    def __init__(self, cuda: Cuda, largest: int, taken: tuple[int, ...], given: tuple[int, ...]) -> None:
        self._cuda = cuda
        self._to_give_back: list[tuple[Callable[[int], None], int]] = []
        self._in_bytes, self._out_bytes = (math.prod(shape) * _FLOAT_BYTES for shape in (taken, given))
        try:
            self.stream = self._taken(cuda.make_stream(), cuda.drop_stream)
            self.device_in = self._taken(cuda.allocate(largest * self._in_bytes), cuda.free)
            self.device_out = self._taken(cuda.allocate(largest * self._out_bytes), cuda.free)
            self.host_in = self._pinned((largest, *taken))
            self.host_out = self._pinned((largest, *given))
        except BaseException:
            self.close()
            raise

    def copy_in(self, rows: int) -> None:
        """Enqueue the copy of the first rows to the device."""
        self._cuda.copy_to_device(self.device_in, self._host_in_address, rows * self._in_bytes, self.stream)

    def copy_out(self, rows: int) -> None:
        """Enqueue the copy of the first answers from the device."""
        self._cuda.copy_to_host(self._host_out_address, self.device_out, rows * self._out_bytes, self.stream)

    def close(self) -> None:
        """Give everything back, the last first; the arrays must not be touched afterwards."""
        while self._to_give_back:
            give_back, what = self._to_give_back.pop()
            give_back(what)

    def _taken(self, what: int, give_back: Callable[[int], None]) -> int:
        self._to_give_back.append((give_back, what))
        return what

    def _pinned(self, shape: tuple[int, ...]) -> Floats:
        count = math.prod(shape)
        address = self._taken(self._cuda.allocate_pinned(count * _FLOAT_BYTES), self._cuda.free_pinned)
        memory = (ctypes.c_float * count).from_address(address)
        array: Floats = np.frombuffer(memory, dtype=np.float32).reshape(shape)  # type: ignore[call-overload]  # it is a buffer
        return array

    @property
    def _host_in_address(self) -> int:
        return int(self.host_in.ctypes.data)

    @property
    def _host_out_address(self) -> int:
        return int(self.host_out.ctypes.data)
