"""Inference engines behind one protocol: a table from name to backend, one file per engine."""

from __future__ import annotations

from mstedge.errors import MachineError, UsageError, nearest
from mstedge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from mstedge.runtime.backends.protocol import Availability, Backend, EngineOptions, EngineSession, usable_cores

__all__ = [
    "BACKENDS",
    "DEFAULT_BACKEND",
    "Availability",
    "Backend",
    "EngineOptions",
    "EngineSession",
    "backend_named",
    "usable_cores",
]

_ALL: tuple[Backend, ...] = (OnnxRuntimeBackend(),)
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}
DEFAULT_BACKEND = "onnxruntime"


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
