"""OpenVINO's devices: CPU, GPU, NPU, and AUTO, MULTI and HETERO above them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mstedge.runtime.backends.openvino_reports import problem_of

if TYPE_CHECKING:
    from mstedge.limits import Precision
    from mstedge.runtime.backends.protocol import EngineOptions

_CPU = "CPU"
_OVER_OTHERS = ("AUTO", "MULTI", "HETERO", "BATCH")
_INSTALL = {
    "GPU": "Intel's driver brings it: sudo apt install intel-opencl-icd, and the user in the group render",
    "NPU": "Intel's driver for the NPU brings it: github.com/intel/linux-npu-driver",
}


def device_as_given(device: str | None) -> str:
    """Write a device as OpenVINO does, in capitals, as in `AUTO:GPU,CPU`; none is the CPU."""
    return _CPU if device is None else device.strip().upper()


def compiled_on(
    core: Any, model: Any, device: str, precision: Precision, options: EngineOptions
) -> tuple[Any, tuple[str, ...]]:
    """Compile a model for a device, or where a fallback is allowed, for the CPU.

    Args:
        core: OpenVINO's Core.
        model: What it has read.
        device: As OpenVINO writes it.
        precision: Arithmetic that the graph carries.
        options: How to compute.

    Returns:
        The compiled model, and notes.

    Raises:
        MachineError: The device is not there, and no fallback is allowed.
        RuntimeError: OpenVINO cannot compile the model.
    """
    if device == _CPU:
        return core.compile_model(model, _CPU, compile_settings(core, _CPU, precision, options)), ()
    try:
        return core.compile_model(model, device, compile_settings(core, device, precision, options)), ()
    except RuntimeError as problem:
        there = ", ".join(core.available_devices)
        hints = [way for name, way in _INSTALL.items() if name in device]
        note = options.refuse_or_note(
            f"the device {device!r} was asked for, and OpenVINO cannot use it here: {problem_of(problem)}",
            "the CPU is used instead",
            hint="; ".join([f"OpenVINO finds here: {there}", *hints]),
        )
    return core.compile_model(model, _CPU, compile_settings(core, _CPU, precision, options)), (note,)


def compile_settings(core: Any, device: str, precision: Precision, options: EngineOptions) -> dict[str, Any]:
    """Write what a model is compiled with; AUTO and its like are told for each device that may lie below them."""
    kind = device.partition(":")[0]
    if kind not in _OVER_OTHERS:
        return _of_one(core, device, precision, options)
    below = {name: _of_one(core, name, precision, options) for name in core.available_devices}
    settings: dict[str, Any] = {"DEVICE_PROPERTIES": below}
    if kind == "AUTO":
        settings |= {"PERFORMANCE_HINT": "LATENCY", "ENABLE_STARTUP_FALLBACK": False}  # else the CPU answers first
    return settings


def _of_one(core: Any, device: str, precision: Precision, options: EngineOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", **_precision_settings(core, device, precision)}
    if device == _CPU:
        settings |= {
            "INFERENCE_NUM_THREADS": options.thread_count,
            "ENABLE_HYPER_THREADING": True,  # otherwise fewer threads than asked for are taken without a word
            "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core while others are free
        }
    return settings


def _precision_settings(core: Any, device: str, precision: Precision) -> dict[str, str]:
    """Say what to compute in: float32, or for a float16 graph what each node says, where the device has float16.

    A hint of float16 would also take the nodes that the graph keeps in float32; what is not quantised in an int8 graph
    stays float32.
    """
    if precision == "fp16" and "FP16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        return {"EXECUTION_MODE_HINT": "ACCURACY"}
    return {"INFERENCE_PRECISION_HINT": "f32"}
