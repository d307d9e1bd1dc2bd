"""Finding libcudart: the one that TensorRT has loaded, the system's, CUDA's own folder, or a wheel's."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mstedge.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAPPED = Path("/proc/self/maps")
_LEAST_MAJOR = 12
_NAMES = ("libcudart.so.13", "libcudart.so.12")
_CUDA = Path("/usr/local/cuda")


def load_cudart() -> ctypes.CDLL:
    """Load CUDA's runtime library.

    Raises:
        MachineError: There is none of CUDA 12 or newer.
    """
    for name in candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise MachineError(
        f"CUDA's runtime library ({' or '.join(_NAMES)}) cannot be found",
        hint="a Jetson has it in /usr/local/cuda from JetPack; elsewhere: pip install 'nvidia-cuda-runtime-cu12'",
    )


def candidates(mapped: Path = _MAPPED, cuda: Path = _CUDA, folders: list[str] | None = None) -> Iterator[str]:
    """List what may be loaded, the best first.

    Args:
        mapped: The kernel's list of what this process has loaded.
        cuda: Where CUDA itself is installed.
        folders: Where Python packages are installed; none for this interpreter's.
    """
    yield from _loaded(mapped)
    yield from _NAMES
    places = [cuda / "lib64", *cuda.glob("targets/*/lib")]
    for folder in sys.path if folders is None else folders:
        places += sorted(Path(folder).glob("nvidia/*/lib")) if folder else []
    for name in _NAMES:
        yield from (str(place / name) for place in places if (place / name).is_file())


def _loaded(mapped: Path) -> list[str]:
    """Name the libraries of this process: with another one beside it, two runtimes would have to get on."""
    try:
        text = mapped.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = re.findall(r"(/\S*/libcudart\.so\.(\d{1,3})\S*)$", text, re.MULTILINE)
    return list(dict.fromkeys(path for path, major in found if int(major) >= _LEAST_MAJOR))
