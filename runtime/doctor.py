"""What this machine has and lacks. Nothing heavy is imported to find out, and nothing is written."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from mstedge.bench_result import Environment
from mstedge.runtime.cache import cache_folder
from mstedge.runtime.environment import TENSORRT, TENSORRT_RTX, l4t_release, package_version, read_environment
from mstedge.runtime.trt.library import install_line
from mstedge.schema import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mstedge.engine_build import LibraryName

_LEAST_PYTHON = (3, 10)
_LEAST_NUMPY = (1, 23)


class PackageState(Record, frozen=True, kw_only=True):
    """One thing that something needs.

    Attributes:
        name: What people call it.
        version: Which one is installed; none where it is missing, `unknown` where it does not tell.
        needed_by: What needs it.
        install: The line that installs it.
        base: Whether every command needs it.
    """

    name: str
    version: str | None
    needed_by: str
    install: str
    base: bool = False


class BackendState(Record, frozen=True, kw_only=True):
    """One inference engine.

    Attributes:
        name: What it is called on the command line.
        available: Whether it can be used here.
        reason: Why, or why not.
        hint: What would make it available.
        devices: What can be asked for with --device.
    """

    name: str
    available: bool
    reason: str
    hint: str | None = None
    devices: tuple[str, ...] = ()


class CacheState(Record, frozen=True, kw_only=True):
    """The folder for what can be made again.

    Attributes:
        folder: Where it is, the home folder written as `~`.
        writable: Whether files can be made there.
    """

    folder: str
    writable: bool


class DoctorReport(Record, frozen=True, kw_only=True):
    """What this machine has and lacks.

    Attributes:
        schema: Version of this format.
        healthy: Whether the base install works.
        packages: Everything that something needs.
        problems: What is broken or fights, each with the way out.
        environment: The machine.
        backends: Inference engines.
        cache: The cache folder.
    """

    healthy: bool
    packages: tuple[PackageState, ...]
    problems: tuple[str, ...]
    environment: Environment
    backends: tuple[BackendState, ...]
    cache: CacheState
    schema: Literal["mstedge.doctor/1"] = "mstedge.doctor/1"


class _Package(NamedTuple):
    name: str
    module: str
    distributions: tuple[str, ...]
    needed_by: str
    extra: str | None
    library: LibraryName | None = None


_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
_ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
_PACKAGES = (
    _Package("numpy", "numpy", ("numpy",), "everything", None),
    _Package("msgspec", "msgspec", ("msgspec",), "everything", None),
    _Package("typer", "typer", ("typer",), "the command line", None),
    _Package("onnxruntime", "onnxruntime", _ONNXRUNTIME, "predict, verify, bench, export", "onnxruntime"),
    _Package("openvino", "openvino", ("openvino",), "bundles for openvino: export, predict, verify", "openvino"),
    _Package("tensorrt", "tensorrt", TENSORRT, "build and run engines, on a GPU", "tensorrt", "tensorrt"),
    _Package(
        "tensorrt-rtx", "tensorrt_rtx_bindings", TENSORRT_RTX, "build, also without a GPU", "tensorrt", "tensorrt-rtx"
    ),
    _Package("opencv", "cv2", _OPENCV, "images", "image"),
    _Package("soundfile", "soundfile", ("soundfile",), "audio other than PCM wav", "audio"),
    _Package("soxr", "soxr", ("soxr",), "audio at another rate than the bundle's", "audio"),
    _Package("torch", "torch", ("torch",), "distill, export", "train"),
    _Package("lightning-fabric", "lightning_fabric", ("lightning-fabric",), "distill", "train"),
    _Package("safetensors", "safetensors", ("safetensors",), "distill, export", "train"),
    _Package("PyYAML", "yaml", ("PyYAML",), "recipes", "train"),
    _Package("scikit-learn", "sklearn", ("scikit-learn",), "drawing splits of one's own rows", "train"),
    _Package("tensorboard", "tensorboard", ("tensorboard",), "distill: event files", "train"),
    _Package("onnx", "onnx", ("onnx",), "export", "export"),
    _Package("onnxscript", "onnxscript", ("onnxscript",), "export", "export"),
    _Package("Jinja2", "jinja2", ("Jinja2",), "report", "report"),
    _Package("matplotlib", "matplotlib", ("matplotlib",), "report", "report"),
    _Package("cryptography", "cryptography", ("cryptography",), "sign, verify --key", "sign"),
)


def examine() -> DoctorReport:
    """Look at this machine."""
    packages = (_python_state(), *(_state_of(package) for package in _PACKAGES))
    broken = tuple(_base_problems(packages))
    return DoctorReport(
        healthy=not broken,
        packages=packages,
        problems=(*broken, *_conflicts()),
        environment=read_environment(),
        backends=tuple(_backend_states()),
        cache=cache_state(cache_folder()),
    )


def cache_state(folder: Path) -> CacheState:
    """Tell whether files can be made in a folder, without making it.

    Args:
        folder: It need not exist; then its nearest ancestor that does decides.
    """
    try:
        nearest = folder.expanduser().absolute()
        home = Path.home()
    except RuntimeError:
        return CacheState(folder=str(folder), writable=False)
    shown = f"~/{nearest.relative_to(home).as_posix()}" if home in nearest.parents else str(nearest)
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    return CacheState(folder=shown, writable=nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK))


def _python_state() -> PackageState:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return PackageState(
        name="python", version=version, needed_by="everything", install="from your system, 3.10 or newer", base=True
    )


def _state_of(package: _Package) -> PackageState:
    versions = [version for name in package.distributions if (version := package_version(name)) is not None]
    # A board's own cv2 has no metadata; metadata without a module is what is left of a package.
    version = (versions[0] if versions else "unknown") if _module_is_here(package.module) else None
    return PackageState(
        name=package.name,
        version=version,
        needed_by=package.needed_by,
        install=_install_line(package),
        base=package.extra is None,
    )


def _install_line(package: _Package) -> str:
    if package.library == "tensorrt-rtx" or (package.library and platform.machine() != "x86_64"):
        return install_line(package.library, l4t_release())
    return f"pip install '{'mstedge' if package.extra is None else f'mstedge[{package.extra}]'}'"


def _module_is_here(name: str) -> bool:
    """Tell whether a module could be imported, without importing it; a mere folder of that name is none."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return found is not None and found.origin is not None


def _base_problems(packages: Iterable[PackageState]) -> Iterable[str]:
    """Say what keeps every command from working."""
    for package in packages:
        if not package.base:
            continue
        if package.version is None:
            yield f"{package.name} is missing, and {package.needed_by} needs it: {package.install}"
        elif package.name == "python" and _numbers(package.version) < _LEAST_PYTHON:
            yield f"python is {package.version}: mstedge needs 3.10 or newer"
        elif package.name == "numpy" and _numbers(package.version) < _LEAST_NUMPY:
            yield f"numpy is {package.version}: mstedge needs 1.23 or newer: pip install --upgrade numpy"


def _numbers(version: str) -> tuple[int, ...]:
    """Read the leading numbers of a version; one that does not tell counts as new enough."""
    found = re.match(r"([0-9]{1,6})\.([0-9]{1,6})", version)
    return (int(found[1]), int(found[2])) if found else (sys.maxsize,)


def _conflicts() -> Iterable[str]:
    """Name packages that bring the same module: the files of one overwrite those of the other."""
    for module, distributions, keep in (
        ("onnxruntime", _ONNXRUNTIME, "onnxruntime"),
        ("cv2", _OPENCV, "opencv-python-headless"),
    ):
        found = [name for name in distributions if package_version(name) is not None]
        if len(found) > 1:
            yield (
                f"{' and '.join(found)} are installed, and all bring the module {module!r}: keep one, for example "
                f"pip uninstall -y {' '.join(found)} && pip install {keep}"
            )


def _backend_states() -> Iterable[BackendState]:
    try:
        from mstedge.runtime.backends import BACKENDS  # noqa: PLC0415  it needs numpy, which may be what is missing
    except ImportError as problem:
        yield BackendState(name="onnxruntime", available=False, reason=f"the base install is broken: {problem}")
        return
    for name, backend in BACKENDS.items():
        found = backend.available()
        devices = backend.devices() if found.available else ()
        yield BackendState(name=name, available=found.available, reason=found.reason, hint=found.hint, devices=devices)
