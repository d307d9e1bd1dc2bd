"""A TensorRT engine that runs: one context, one stream, pinned memory, and where asked for, a CUDA graph."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.errors import MachineError, SampleError
from mstedge.runtime.backends.protocol import closed_error, require_features
from mstedge.runtime.trt.device_buffers import DeviceBuffers
from mstedge.runtime.trt.messages import errors_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mstedge.limits import Precision
    from mstedge.runtime.backends.protocol import Floats, Network
    from mstedge.runtime.trt.cudart import Cuda
    from mstedge.runtime.trt.loaded_engine import LoadedEngine


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a session says about itself; see the protocol of the backends."""

    backend: str
    device: str
    precision: Precision
    arithmetic: str
    settings: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceTimes:
    """Where the device's time went, by its own clock, in milliseconds.

    Attributes:
        copy_in_ms: From pinned memory to the device.
        network_ms: The engine.
        copy_out_ms: Back to pinned memory.
    """

    copy_in_ms: float
    network_ms: float
    copy_out_ms: float


class TensorRtSession:
    """A network as an engine of this machine; threads that share it take turns, for a context is no thread's friend.

    Args:
        engine: The engine, and the rows that it takes.
        cuda: The device that it is on.
        network: What the manifest says about it.
        facts: What the session says about itself.
        spinning: Whether a waiting thread may spin; otherwise it sleeps.

    Raises:
        MachineError: The device has no room for it.
    """

    threads = 1  # the caller's: everything else is on the device

    def __init__(
        self, engine: LoadedEngine, cuda: Cuda, network: Network, facts: SessionFacts, *, spinning: bool
    ) -> None:
        self._engine, self._cuda, self._network, self._facts = engine, cuda, network, facts
        self._turns = threading.Lock()
        self._open = True
        self._rows = self._graph_rows = self._graph = 0
        with ExitStack() as stack:
            # What is taken last goes first.
            stack.callback(engine.close)
            self._buffers = DeviceBuffers(cuda, engine.largest, network.input.shape, network.output.shape)
            stack.callback(self._buffers.close)
            self._done = 0 if spinning else cuda.make_event(sleeping=True)
            if self._done:
                stack.callback(cuda.drop_event, self._done)
            self._context = self._new_context()
            self._to_close = stack.pop_all()

    @property
    def backend(self) -> str:
        """Engine and its version."""
        return self._facts.backend

    @property
    def device(self) -> str:
        """Device that is really used."""
        return self._facts.device

    @property
    def precision(self) -> Precision:
        """Precision that the graph carries."""
        return self._facts.precision

    @property
    def arithmetic(self) -> str:
        """What the engine's layers compute in."""
        return self._facts.arithmetic

    @property
    def settings(self) -> Mapping[str, str]:
        """Settings that are in force."""
        graph = {"CUDA graph": f"for batches of {self._graph_rows}" if self._graph else "off"}
        return {**self._facts.settings, **graph}

    @property
    def notes(self) -> tuple[str, ...]:
        """What took another way than asked."""
        return self._facts.notes

    def run(self, features: Floats) -> Floats:
        """Compute logits; see the protocol. Batches that are larger than the engine takes go through it in parts.

        Raises:
            MachineError: The device failed.
        """
        require_features(features, self._network.input.shape)
        answers: Floats = np.empty((len(features), *self._network.output.shape), dtype=np.float32)
        with self._turns:
            self._require_open()
            self._cuda.use_device()
            for start in range(0, len(features), self._engine.largest):
                part = slice(start, start + self._engine.largest)
                rows = self._put_in(features[part])
                self._launch(rows)
                answers[part] = self._buffers.host_out[: len(features[part])]
        return answers

    def record_graph(self) -> None:
        """Record the work for the batch that the engine is tuned for; later runs of that size replay it.

        The graph has a context of its own, for a context that a graph was recorded from must not be changed any more.

        Raises:
            MachineError: CUDA cannot record it.
        """
        with self._turns:
            self._require_open()
            rows, context = self._engine.best, self._new_context()
            self._cuda.use_device()
            self._set_rows(context, rows)
            self._enqueue(context, rows)  # TensorRT finishes preparing with the first run, which cannot be recorded
            self._wait()
            self._graph = self._cuda.captured(self._buffers.stream, lambda: self._enqueue(context, rows))
            self._graph_rows = rows
            self._to_close.callback(self._cuda.drop_graph, self._graph)

    def time_device(self, features: Floats) -> DeviceTimes:
        """Run once, without a graph, and read the device's own clock between the steps.

        Args:
            features: One batch that the engine takes whole, float32 [batch, *shape].

        Raises:
            SampleError: The shape or type is another, or the batch is larger.
            MachineError: The device failed.
        """
        require_features(features, self._network.input.shape)
        if len(features) > self._engine.largest:
            raise SampleError(f"{len(features)} rows: the engine takes at most {self._engine.largest} at once")
        with self._turns, ExitStack() as stack:
            self._require_open()
            self._cuda.use_device()
            events = [self._cuda.make_event() for _ in range(4)]
            for event in events:
                stack.callback(self._cuda.drop_event, event)
            rows = self._put_in(features)
            self._set_rows(self._context, rows)
            self._enqueue(self._context, rows, events)
            self._wait()
            times = [self._cuda.milliseconds_between(first, second) for first, second in pairwise(events)]
        return DeviceTimes(*times)

    def close(self) -> None:
        """Give everything back; see the protocol."""
        with self._turns:
            if self._open:
                self._open = False
                self._graph, self._context = 0, None
                self._cuda.use_device()
                self._to_close.close()

    def _require_open(self) -> None:
        if not self._open:
            raise closed_error(self.backend)

    def _put_in(self, part: Floats) -> int:
        """Copy samples to pinned memory; what is missing to the smallest batch is filled with the last of them."""
        rows = max(len(part), self._engine.smallest)
        self._buffers.host_in[: len(part)] = part
        self._buffers.host_in[len(part) : rows] = part[-1]
        return rows

    def _launch(self, rows: int) -> None:
        if self._graph and rows == self._graph_rows:
            self._cuda.launch(self._graph, self._buffers.stream)
        else:
            self._set_rows(self._context, rows)
            self._enqueue(self._context, rows)
        self._wait()

    def _set_rows(self, context: Any, rows: int) -> None:
        if context is self._context and rows == self._rows:
            return
        if not context.set_input_shape(self._network.input.name, (rows, *self._network.input.shape)):
            raise self._failed(f"the engine takes no batch of {rows}")
        if context is self._context:
            self._rows = rows

    def _enqueue(self, context: Any, rows: int, events: list[int] | None = None) -> None:
        ticks = iter(events or ())
        self._tick(ticks)
        self._buffers.copy_in(rows)
        self._tick(ticks)
        if not context.execute_async_v3(self._buffers.stream):
            raise self._failed("the engine could not be started")
        self._tick(ticks)
        self._buffers.copy_out(rows)
        self._tick(ticks)

    def _tick(self, events: Iterator[int]) -> None:
        event = next(events, None)
        if event is not None:
            self._cuda.record(event, self._buffers.stream)

    def _wait(self) -> None:
        if self._done:
            self._cuda.record(self._done, self._buffers.stream)
            self._cuda.wait_for_event(self._done)
        else:
            self._cuda.wait_for(self._buffers.stream)

    def _new_context(self) -> Any:
        """Make a context and show it the memory; the addresses stay the same for good."""
        context = self._engine.new_context()
        for name, address in (
            (self._network.input.name, self._buffers.device_in),
            (self._network.output.name, self._buffers.device_out),
        ):
            if not context.set_tensor_address(name, address):
                raise self._failed(f"the engine does not take the memory of {name!r}")
        return context

    def _failed(self, what: str) -> MachineError:
        reasons = "; ".join(errors_in(self._engine.logger)) or "it gave no reason"
        return MachineError(f"{self.backend}: {what}: {reasons}")
