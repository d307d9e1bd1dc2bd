"""What OpenVINO says: about a model's tensors, about what it computes in, and when it fails."""

from __future__ import annotations

from typing import Any

from mstedge.runtime.backends.tensors import EngineTensor

_FLOAT32 = {"f32": "float32"}
_ARITHMETIC = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "f64": "float64",
    "i8": "int8",
    "u8": "int8",
    "i4": "int4",
    "u4": "int4",
}
# Layers that hold, move or convert values, and compute nothing with them.
_NOT_COMPUTING = {"Const", "Input", "Output", "Reorder", "Convert", "Reshape", "FakeQuantize"}
_SETTINGS = {
    "threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "hint": "PERFORMANCE_HINT",
    "execution mode": "EXECUTION_MODE_HINT",
    "inference precision": "INFERENCE_PRECISION_HINT",
    "pinning": "ENABLE_CPU_PINNING",
    "hyper-threading": "ENABLE_HYPER_THREADING",
}
_ABOUT_ITSELF = ("Exception from ", "Check '", "FrontEnd API failed", "Model wasn't", "Summary:", "Converting input")


def tensors_of(ports: list[Any]) -> list[EngineTensor]:
    """Describe the inputs or outputs of a model."""
    return [
        EngineTensor(
            name=port.any_name if port.names else "",
            kind=_FLOAT32.get(kind := port.element_type.get_type_name(), kind),
            sizes=_sizes(port.partial_shape),
        )
        for port in ports
    ]


def arithmetic_of(compiled: Any) -> str:
    """Read what the layers of a compiled model compute in, like `float32` or `float32 and int8`."""
    found = set()
    for layer in compiled.get_runtime_model().get_ops():
        facts = layer.get_rt_info()
        if facts["layerType"].astype(str) not in _NOT_COMPUTING:
            found.add(_ARITHMETIC.get(facts["runtimePrecision"].astype(str)))
    return " and ".join(sorted(name for name in found if name is not None)) or "nothing"


def settings_of(compiled: Any) -> dict[str, str]:
    """Read back what a compiled model runs with: whatever of it its device tells."""
    found = {title: reported(compiled, name) for title, name in _SETTINGS.items()}
    return {title: _plain(value) for title, value in found.items() if value is not None}


def threads_of(compiled: Any) -> int:
    """Read the threads of one inference; devices other than the CPU compute with none of the host's but the caller."""
    return max(1, int(reported(compiled, "INFERENCE_NUM_THREADS") or 1))


def reported(compiled: Any, name: str) -> Any:
    """Read a property of a compiled model, or of the first device below it, as AUTO and its like have one.

    Returns:
        The value, or none where nobody tells.
    """
    try:
        return compiled.get_property(name)
    except RuntimeError:
        pass
    try:
        devices = compiled.get_property("DEVICE_PROPERTIES")
    except RuntimeError:
        return None
    return next((told[name] for told in devices.values() if name in told), None)


def problem_of(problem: Exception) -> str:
    """Take the line of a complaint that tells what is wrong; those before it name OpenVINO's source files."""
    lines = [line.strip(" -") for line in str(problem).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_ABOUT_ITSELF)]
    return telling[0] if telling else type(problem).__name__


def _sizes(shape: Any) -> tuple[int | None, ...]:
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


def _plain(value: Any) -> str:
    """Write a property in small words; OpenVINO's enumerations write their class before the value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(getattr(value, "name", None) or getattr(value, "to_string", value.__str__)()).rpartition(".")[2].lower()
