"""CUDA's runtime through ctypes: memory, one stream, events and graphs, and nothing else.

No package binds it for every board (cuda-python has no wheel for a Jetson's CUDA of JetPack 6), while libcudart comes
with CUDA itself, with the board, and with NVIDIA's wheels. The functions and their types are those of CUDA 12 and 13
(docs.nvidia.com/cuda/cuda-runtime-api); an error of any of them is a MachineError with CUDA's own words.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mstedge.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable

_HANDLE = ctypes.c_void_p
_OUT = ctypes.POINTER(ctypes.c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceCount": (ctypes.POINTER(ctypes.c_int),),
    "cudaSetDevice": (ctypes.c_int,),
    "cudaRuntimeGetVersion": (ctypes.POINTER(ctypes.c_int),),
    "cudaMalloc": (_OUT, ctypes.c_size_t),
    "cudaFree": (_HANDLE,),
    "cudaHostAlloc": (_OUT, ctypes.c_size_t, ctypes.c_uint),
    "cudaFreeHost": (_HANDLE,),
    "cudaMemcpyAsync": (_HANDLE, _HANDLE, ctypes.c_size_t, ctypes.c_int, _HANDLE),
    "cudaStreamCreateWithFlags": (_OUT, ctypes.c_uint),
    "cudaStreamSynchronize": (_HANDLE,),
    "cudaStreamDestroy": (_HANDLE,),
    "cudaEventCreateWithFlags": (_OUT, ctypes.c_uint),
    "cudaEventSynchronize": (_HANDLE,),
    "cudaEventRecord": (_HANDLE, _HANDLE),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _HANDLE, _HANDLE),
    "cudaEventDestroy": (_HANDLE,),
    "cudaStreamBeginCapture": (_HANDLE, ctypes.c_int),
    "cudaStreamEndCapture": (_HANDLE, _OUT),
    # Its sibling without the suffix takes other arguments in CUDA 11 than in 12; this one is the same in all.
    "cudaGraphInstantiateWithFlags": (_OUT, _HANDLE, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_HANDLE, _HANDLE),
    "cudaGraphExecDestroy": (_HANDLE,),
    "cudaGraphDestroy": (_HANDLE,),
}
_TO_DEVICE, _TO_HOST = 1, 2
_NON_BLOCKING = 1
_CAPTURE_OF_THIS_THREAD = 1
_PINNED = 0
_TIMED = 0
_SLEEPING = 0x01 | 0x02  # cudaEventBlockingSync, cudaEventDisableTiming


class Cuda:
    """The calls that running an engine needs; addresses and handles are plain integers.

    Args:
        library: Anything that has the functions of libcudart: a loaded library, or in tests a made-up one.
        number: The device that everything happens on.

    Raises:
        MachineError: A function is missing, or the device cannot be used.
    """

    def __init__(self, library: Any, number: int = 0) -> None:
        self._functions: dict[str, Callable[..., int]] = {}
        for name, types in _SIGNATURES.items():
            try:
                function = getattr(library, name)
            except AttributeError:
                raise MachineError(f"CUDA's runtime library has no {name}", hint="CUDA 12 or newer is needed") from None
            function.argtypes, function.restype = types, ctypes.c_int
            self._functions[name] = function
        self._error_text = library.cudaGetErrorString
        self._error_text.argtypes, self._error_text.restype = (ctypes.c_int,), ctypes.c_char_p
        self.number = number
        self.use_device()

    def use_device(self) -> None:
        """Choose the device for the calling thread: CUDA keeps one for each."""
        self._call("cudaSetDevice", self.number)

    @property
    def version(self) -> str:
        """Version of the runtime library, as `12.6`."""
        number = ctypes.c_int()
        self._call("cudaRuntimeGetVersion", ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def allocate(self, size: int) -> int:
        """Take memory of the device, in bytes; give it back with `free`."""
        return self._made("cudaMalloc", size)

    def free(self, address: int) -> None:
        """Give memory of the device back."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        """Take memory of the host that the device copies from and to on its own; give it back with `free_pinned`."""
        return self._made("cudaHostAlloc", size, _PINNED)

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        self._call("cudaFreeHost", address)

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Enqueue a copy of bytes from pinned memory to the device."""
        self._call("cudaMemcpyAsync", target, source, size, _TO_DEVICE, stream)

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """Enqueue a copy of bytes from the device to pinned memory."""
        self._call("cudaMemcpyAsync", target, source, size, _TO_HOST, stream)

    def make_stream(self) -> int:
        """Make a stream that does not wait for the default one."""
        return self._made("cudaStreamCreateWithFlags", _NON_BLOCKING)

    def wait_for(self, stream: int) -> None:
        """Wait until everything in a stream is done; what failed there is an error here."""
        self._call("cudaStreamSynchronize", stream)

    def drop_stream(self, stream: int) -> None:
        """Give a stream back."""
        self._call("cudaStreamDestroy", stream)

    def make_event(self, *, sleeping: bool = False) -> int:
        """Make an event: one that notes the time, or one that a thread sleeps for instead of spinning."""
        return self._made("cudaEventCreateWithFlags", _SLEEPING if sleeping else _TIMED)

    def wait_for_event(self, event: int) -> None:
        """Wait until an event has happened; what failed before it in its stream is an error here."""
        self._call("cudaEventSynchronize", event)

    def record(self, event: int, stream: int) -> None:
        """Note the time when the stream comes to this place."""
        self._call("cudaEventRecord", event, stream)

    def milliseconds_between(self, first: int, second: int) -> float:
        """Tell the device's own time between two events that have happened."""
        found = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(found), first, second)
        return found.value

    def drop_event(self, event: int) -> None:
        """Give an event back."""
        self._call("cudaEventDestroy", event)

    def captured(self, stream: int, enqueue: Callable[[], None]) -> int:
        """Record what a function enqueues as a graph, instead of doing it.

        Args:
            stream: Where the function enqueues.
            enqueue: May neither wait nor allocate.

        Returns:
            The graph, ready to be launched again and again; give it back with `drop_graph`.

        Raises:
            MachineError: Something in it cannot be captured.
        """
        self._call("cudaStreamBeginCapture", stream, _CAPTURE_OF_THIS_THREAD)
        try:
            enqueue()
        except BaseException:
            with suppress(MachineError):  # the stream has to leave the capture, whatever went wrong in it
                self._call("cudaGraphDestroy", self._made("cudaStreamEndCapture", first=stream))
            raise
        graph = self._made("cudaStreamEndCapture", first=stream)
        try:
            return self._made("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Enqueue a graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def drop_graph(self, graph: int) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)

    def _made(self, name: str, *arguments: Any, first: int | None = None) -> int:
        """Call a function that writes a new address or handle to its first argument, or after a given one."""
        found = ctypes.c_void_p()
        before = () if first is None else (first,)
        self._call(name, *before, ctypes.byref(found), *arguments)
        if not found.value:
            raise MachineError(f"CUDA: {name} gave nothing")
        return found.value

    def _call(self, name: str, *arguments: Any) -> None:
        code = self._functions[name](*arguments)
        if code != 0:
            text = self._error_text(code)
            raise MachineError(
                f"CUDA: {name} failed: {text.decode(errors='replace') if text else 'no reason'} ({code})"
            )
