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
from mstedge.runtime.backends.tensorrt import TensorRtBackend

__all__ = [
    "BACKENDS",
    "BACKEND_OF_TARGET",
    "Availability",
    "Backend",
    "EngineOptions",
    "EngineSession",
    "Network",
    "backend_named",
    "choose_backend",
    "usable_cores",
]

_ALL: tuple[Backend, ...] = (OnnxRuntimeBackend(), OpenVinoBackend(), TensorRtBackend())
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}
# What every machine has for a bundle: the graph of one for TensorRT runs in ONNX Runtime too, slower, the same answers.
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


def choose_backend(name: str | None, target: Target, options: EngineOptions) -> tuple[Backend, tuple[str, ...]]:
    """Choose the engine that shall run a bundle.

    Args:
        name: What was asked for; none for what the bundle is for: TensorRT where its target is that and it can be used
            here, else what `BACKEND_OF_TARGET` names.
        target: What the bundle is for.
        options: Whether a fallback is allowed, and who wants to hear of it.

    Returns:
        The engine, and notes on why it is another one than asked for or than the bundle is for.

    Raises:
        UsageError: There is no such engine.
        MachineError: It cannot be used on this machine, and no fallback is allowed.
    """
    usual = BACKEND_OF_TARGET[target]
    if name is None and target == "trt":
        found = BACKENDS["tensorrt"].available()
        if found.available:
            return BACKENDS["tensorrt"], ()
        return backend_named(usual), (options.tell(f"the graph runs in {usual}, TensorRT cannot: {found.reason}"),)
    try:
        return backend_named(name or usual), ()
    except MachineError as problem:
        if name is None or name == usual:
            raise
        note = options.refuse_or_note(problem.message, f"{usual} runs the network instead", hint=problem.hint)
        return backend_named(usual), (note,)
