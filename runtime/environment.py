"""The machine, as far as results depend on it: never its host name, its user or a path.

Every reader takes the root of the file system, so that it can be pointed at a copy of another machine's files.
What cannot be read is none: a reader never guesses.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
from pathlib import Path

from mstedge.bench_result import Environment

_ROOT = Path("/")
_LONGEST_TEXT = 200
_LARGEST_FILE_BYTES = 1 << 20
# NVIDIA's packages without a suffix fetch those with one; a Jetson's own has none.
TENSORRT = ("tensorrt", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings")
TENSORRT_RTX = ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings")
_PACKAGES = (
    "mstedge",
    "numpy",
    "msgspec",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    *TENSORRT,
    *TENSORRT_RTX,
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "soundfile",
    "soxr",
)
# Main ID Register: implementer and part, as Linux lists them in arch/arm64/include/asm/cputype.h.
_ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x4E, 0x003): "NVIDIA Denver 2",
    (0x4E, 0x004): "NVIDIA Carmel",
}


def read_environment(root: Path = _ROOT) -> Environment:
    """Describe this machine.

    Args:
        root: Where `/proc`, `/sys` and `/etc` are looked for.
    """
    return Environment(
        cpu=cpu_model(root) or "unknown",
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory_bytes(root) or 0,
        architecture=platform.machine(),
        board=board_model(root),
        l4t=l4t_release(root),
        kernel=platform.release(),
        operating_system=operating_system(root) or platform.system(),
        governor=frequency_governor(root),
        python=platform.python_version(),
        packages=package_versions(_PACKAGES),
    )


def cpu_model(root: Path = _ROOT) -> str | None:
    """Name the processor: its model name, or on ARM its kinds of core, joined by `+`."""
    text = _text_of(root / "proc/cpuinfo")
    if text is None:
        return None
    if named := re.search(r"^model name[ \t]*:[ \t]*(.+)$", text, re.MULTILINE):
        return _clean(named[1])
    implementers = re.findall(r"^CPU implementer[ \t]*:[ \t]*0x([0-9a-f]{1,2})[ \t]*$", text, re.MULTILINE)
    parts = re.findall(r"^CPU part[ \t]*:[ \t]*0x([0-9a-f]{1,3})[ \t]*$", text, re.MULTILINE)
    if not parts or len(implementers) != len(parts):
        return None
    cores = [(int(who, 16), int(part, 16)) for who, part in zip(implementers, parts, strict=True)]
    names = [_ARM_CORES.get(core, f"ARM implementer {core[0]:#04x} part {core[1]:#05x}") for core in cores]
    return " + ".join(dict.fromkeys(names))


def memory_bytes(root: Path = _ROOT) -> int | None:
    """Read the physical memory that the kernel manages, in bytes."""
    found = re.search(r"^MemTotal:[ \t]*([0-9]{1,15}) kB$", _text_of(root / "proc/meminfo") or "", re.MULTILINE)
    return (int(found[1]) * 1024 or None) if found else None


def board_model(root: Path = _ROOT) -> str | None:
    """Name the board as its device tree does; the text there ends with a NUL."""
    text = _text_of(root / "proc/device-tree/model")
    return None if text is None else _clean(text.partition("\0")[0])


def l4t_release(root: Path = _ROOT) -> str | None:
    """Read the release of Jetson Linux, like `36.4.7`.

    The board that the same file names is wrong on every Jetson, so it is not used.
    """
    text = _text_of(root / "etc/nv_tegra_release") or ""
    found = re.match(r"# R([0-9]{1,4}) \(release\), REVISION: ([0-9]{1,4}(?:\.[0-9]{1,4}){0,3}),", text)
    return f"{found[1]}.{found[2]}" if found else None


def operating_system(root: Path = _ROOT) -> str | None:
    """Read the pretty name of the operating system."""
    found = re.search(r"^PRETTY_NAME=(.*)$", _text_of(root / "etc/os-release") or "", re.MULTILINE)
    if not found:
        return None
    try:
        words = shlex.split(found[1])
    except ValueError:
        return None
    return _clean(words[0]) if len(words) == 1 else None


def frequency_governor(root: Path = _ROOT) -> str | None:
    """Read the CPU frequency governor; where cores differ, all of them, joined by `+`."""
    files = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
    names = {_clean(text) for file in files if (text := _text_of(file)) is not None}
    known = sorted(name for name in names if name is not None)
    return " + ".join(known) if known and None not in names else None


def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Read the versions of those packages that are installed, without importing one."""
    found = ((name, package_version(name)) for name in names)
    return {name: version for name, version in found if version is not None}


def package_version(name: str) -> str | None:
    """Read the version of one installed package from its metadata."""
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return None


def _text_of(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        return None


def _clean(text: str) -> str | None:
    """Take what can be a name: printable and not too long."""
    name = text.strip()
    return name if name and name.isprintable() and len(name) <= _LONGEST_TEXT else None
