"""ONNX Runtime's providers: which one a device means, what it is told, and how it comes onto a machine."""

from __future__ import annotations

import io
import platform
import re
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mstedge.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.limits import Precision

Kind: TypeAlias = Literal["cpu", "cuda", "tensorrt"]

CPU_PROVIDER = "CPUExecutionProvider"
_PROVIDERS: dict[Kind, str] = {
    "cpu": CPU_PROVIDER,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# The GPU build brings the same module as the one for the CPU: only one of them can be installed.
_GPU_BUILD = "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"
_ON_JETSON = (
    "no wheel on PyPI is built for JetPack 6; a third party's index has some: "
    "pip uninstall -y onnxruntime && pip install onnxruntime-gpu --index-url https://pypi.jetson-ai-lab.io/jp6/cu126"
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a session shall run.

    Attributes:
        kind: What kind of device.
        number: Which one of that kind.
    """

    kind: Kind
    number: int = 0

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for it."""
        return _PROVIDERS[self.kind]

    @property
    def title(self) -> str:
        """What results call the device."""
        return {"cpu": "CPU", "cuda": f"CUDA:{self.number}", "tensorrt": f"CUDA:{self.number} through TensorRT"}[
            self.kind
        ]


def placement_of(device: str | None) -> Placement:
    """Read a device as users write it: `cpu`, `cuda`, `cuda:1`, `tensorrt`, `tensorrt:1`; none is the CPU.

    Raises:
        UsageError: ONNX Runtime has no such device here.
    """
    if device is None:
        return Placement("cpu")
    found = re.fullmatch(r"(cpu|cuda|tensorrt)(?::([0-9]{1,2}))?", device.strip().lower())
    kinds: dict[str, Kind] = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "tensorrt"}
    if found is None or (found[1] == "cpu" and found[2]):
        hint = nearest(device, [*kinds, "cuda:1"])
        raise UsageError(f"onnxruntime knows no device {device!r}", hint=hint)
    return Placement(kinds[found[1]], int(found[2] or 0))


def devices_of(providers: Sequence[str]) -> tuple[str, ...]:
    """Name the devices that an installed build was made for."""
    return tuple(kind for kind, provider in _PROVIDERS.items() if provider in providers)


def install_hint(placement: Placement, l4t: str | None) -> str:
    """Say how a build that has a provider comes onto this machine.

    Args:
        placement: Where the session shall run.
        l4t: Release of Jetson Linux; none on other machines.
    """
    if l4t is not None and l4t.startswith("36."):
        return _ON_JETSON
    wheel = _GPU_BUILD
    if platform.machine() != "x86_64":
        wheel += " (Python 3.12, CUDA 13, without the TensorRT provider)"
    return f"{wheel}, and TensorRT: pip install tensorrt" if placement.kind == "tensorrt" else wheel


def provider_options(placement: Placement, precision: Precision, cache: str) -> dict[str, str]:
    """Write what a provider is told, so that nothing is left to its defaults that results depend on.

    Args:
        placement: Where the session shall run.
        precision: Arithmetic that the graph carries.
        cache: Folder for TensorRT's engines.
    """
    if placement.kind == "cpu":
        return {}
    if placement.kind == "cuda":
        # Left alone, products of float32 are rounded to the 10 bits of TF32 from Ampere on.
        return {"device_id": str(placement.number), "use_tf32": "0"}
    return {
        "device_id": str(placement.number),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": cache,
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_int8_enable": str(precision == "int8"),
    }


def arithmetic_on(placement: Placement, precision: Precision) -> str:
    """Say what a session computes in, as far as the graph and the provider's options tell."""
    if placement.kind == "tensorrt":
        return {
            "fp32": "float32, or TF32 where TensorRT takes it",
            "fp16": "float16 or float32, as TensorRT chose",
            "int8": "int8 or float32, as TensorRT chose",
        }[precision]
    return {
        "fp32": "float32",
        "fp16": "float16" if placement.kind == "cuda" else "float32 where the CPU has no float16 operator",
        "int8": "int8, and float32 where the graph says so",
    }[precision]


def preload_libraries(onnxruntime: Any) -> None:
    """Let ONNX Runtime find CUDA and cuDNN in NVIDIA's wheels, where its version can (1.21).

    It prints what it does not find; that would stand in the middle of a command's result.
    """
    if hasattr(onnxruntime, "preload_dlls"):
        with redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()


def nodes_by_provider(engine: Any) -> dict[str, int]:
    """Count the nodes of a session by the provider that runs them; empty where the version does not tell."""
    if not hasattr(engine, "get_provider_graph_assignment_info"):
        return {}
    counts: Counter[str] = Counter()
    for part in engine.get_provider_graph_assignment_info():
        counts[part.ep_name.removesuffix("ExecutionProvider")] += len(part.get_nodes())
    return dict(counts)
