"""Which TensorRT this machine has: the full one (10.3 to 11), or TensorRT-RTX, whose builder needs no GPU."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mstedge.errors import MachineError, first_line
from mstedge.runtime.trt.gpu import driver_release

if TYPE_CHECKING:
    from types import ModuleType

    from mstedge.engine_build import Gpu, LibraryName
    from mstedge.runtime.trt.gpu import GpuState

LibraryChoice: TypeAlias = Literal["auto", "tensorrt", "tensorrt-rtx"]
LIBRARY_CHOICES: tuple[LibraryChoice, ...] = ("auto", "tensorrt", "tensorrt-rtx")

# NVIDIA's package for RTX brings `tensorrt_rtx`, its bindings alone `tensorrt_rtx_bindings`; both are one API.
_MODULES: dict[LibraryName, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_TITLES: dict[LibraryName, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_LEAST: dict[LibraryName, tuple[int, int]] = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 0)}
# Jetson Linux 36.4 is JetPack 6.1, the first one with TensorRT 10; 36.3 (JetPack 6.0) has 8.6, 35 has 8.5.
_LEAST_L4T = (36, 4)
_OTHER_WAY = "run the bundle with ONNX Runtime there: mstedge predict and verify do so by themselves"


@dataclass(frozen=True, slots=True)
class TensorRt:
    """One TensorRT that can build here.

    Attributes:
        name: Which of the two kinds.
        version: Its version.
        module: Its Python module.
        gpu: The GPU that engines will be for; none where there is none.
        driver: What stands between CUDA and that: its driver's release, or a Jetson's.
        notes: Why it was taken and not the other.
    """

    name: LibraryName
    version: str
    module: Any
    gpu: Gpu | None
    driver: str = "unknown"
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Give its name and version as people say them."""
        return f"{_TITLES[self.name]} {self.version}"


def find_library(choice: LibraryChoice, found: GpuState, *, l4t: str | None) -> TensorRt:
    """Find the TensorRT that shall build.

    Args:
        choice: `auto` takes TensorRT where it can be used, else TensorRT-RTX, and notes why.
        found: The GPU, or why there is none.
        l4t: Release of Jetson Linux, as `36.4.7`; none on other machines.

    Raises:
        MachineError: There is none that can build here, or the board's is too old.
    """
    _refuse_old_board(l4t)
    if choice != "auto":
        return _loaded(choice, found, l4t)
    try:
        return _loaded("tensorrt", found, l4t)
    except MachineError as without_first:
        try:
            second = _loaded("tensorrt-rtx", found, l4t)
        except MachineError as without_second:
            reasons = f"{without_first.message}; {without_second.message}"
            raise MachineError(reasons, hint=without_first.hint) from None
        return replace(second, notes=(f"built with TensorRT-RTX: {without_first.message}",))


def _refuse_old_board(l4t: str | None) -> None:
    numbers = _numbers(l4t or "")
    if numbers is not None and numbers < _LEAST_L4T:
        raise MachineError(
            f"this board runs Jetson Linux {l4t} (JetPack 6.0 or older), which has TensorRT 8: "
            "its builder cannot take a graph that carries its own precision",
            hint=f"update to JetPack 6.1 or newer (TensorRT 10.3), or {_OTHER_WAY}",
        )


def _loaded(name: LibraryName, found: GpuState, l4t: str | None) -> TensorRt:
    title = _TITLES[name]
    if name == "tensorrt" and found.gpu is None and _is_installed(name):
        raise MachineError(
            f"TensorRT is installed, but it builds only where a GPU is: {found.reason}",
            hint="build on the device that shall run the engine, or use --library tensorrt-rtx",
        )
    module = _imported(name, l4t)
    version = str(getattr(module, "__version__", ""))
    numbers = _numbers(version)
    if numbers is None:
        raise MachineError(f"the {title} that is installed here does not tell its version: {version!r}")
    if numbers < _LEAST[name]:
        least = ".".join(str(number) for number in _LEAST[name])
        raise MachineError(f"{title} {version} is installed: mstedge builds with {least} or newer", hint=_OTHER_WAY)
    driver = "none" if found.gpu is None else driver_release(l4t)
    return TensorRt(name=name, version=version, module=module, gpu=found.gpu, driver=driver)


def _is_installed(name: LibraryName) -> bool:
    """Tell whether a module is there without importing it: importing may already call the driver."""
    for module in _MODULES[name]:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        if found is not None and found.origin is not None:
            return True
    return False


def _imported(name: LibraryName, l4t: str | None) -> ModuleType:
    reasons = []
    for module in _MODULES[name]:
        try:
            return importlib.import_module(module)
        except (ImportError, OSError, RuntimeError, AttributeError) as problem:
            if not (isinstance(problem, ModuleNotFoundError) and problem.name == module):
                reasons.append(f"{module} cannot be imported: {first_line(problem)}")
    reason = "; ".join(reasons) or f"{_TITLES[name]} is not installed here"
    raise MachineError(reason, hint=install_line(name, l4t))


def install_line(name: LibraryName, l4t: str | None) -> str:
    """Say how a library comes onto this machine.

    Args:
        name: Which of the two kinds.
        l4t: Release of Jetson Linux; none on other machines.
    """
    if l4t is not None:
        return (
            "the board's own: sudo apt install python3-libnvinfer, and an environment that sees it: "
            "python3 -m venv --system-site-packages (pip cannot install TensorRT on a Jetson)"
        )
    if platform.machine() != "x86_64":
        return f"NVIDIA has TensorRT for boards with a GPU of its own; elsewhere {_OTHER_WAY}"
    rtx = "pip install --no-deps tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings"
    return rtx if name == "tensorrt-rtx" else f"where a GPU is: pip install tensorrt; to build without one: {rtx}"


def _numbers(version: str) -> tuple[int, int] | None:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})(?![0-9])", version)
    return (int(found[1]), int(found[2])) if found else None
