"""Inference engines behind one protocol: a table from name to backend, one file per engine."""

from __future__ import annotations

from mstedge.errors import MachineError, UsageError, nearest
from mstedge.manifest import Target
from mstedge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from mstedge.runtime.backends.openvino import OpenVinoBackend
from mstedge.runtime.backends.protocol import (
    Availability,
    Backend,
    EngineOptions,
    EngineSession,
    Network,
    usable_cores,
)

__all__ = [
    "BACKENDS",
    "BACKEND_OF_TARGET",
    "Availability",
    "Backend",
    "EngineOptions",
    "EngineSession",
    "Network",
    "backend_named",
    "usable_cores",
]

_ALL: tuple[Backend, ...] = (OnnxRuntimeBackend(), OpenVinoBackend())
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}
# A bundle for TensorRT runs its graph in ONNX Runtime where there is no engine: slower, the same answers.
BACKEND_OF_TARGET: dict[Target, str] = {"onnx": "onnxruntime", "openvino": "openvino", "trt": "onnxruntime"}


def backend_named(name: str) -> Backend:
    """Find an engine that can be used here; nothing else is taken in its place.

    Args:
        name: What it is called.

    Raises:
        UsageError: There is no such engine.
        MachineError: It cannot be used on this machine.
    """
    backend = BACKENDS.get(name)
    if backend is None:
        raise UsageError(f"there is no backend {name!r}", hint=nearest(name, BACKENDS))
    found = backend.available()
    if not found.available:
        raise MachineError(f"the backend {name!r} cannot be used here: {found.reason}", hint=found.hint)
    return backend
