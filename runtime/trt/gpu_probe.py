"""Ask the CUDA driver what a GPU is, and print it as JSON. Run as a script of its own.

It never runs inside the process that wants to know: a driver that does not fit its kernel module may end the process,
and a process that has initialised CUDA can no longer fork.
"""

from __future__ import annotations

import ctypes
import json
import sys

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 256


def main(library: str, number: str = "0") -> int:
    """Print `{"name": ..., "compute_capability": ...}`, or `{"reason": ...}` where there is no GPU.

    Args:
        library: The driver's library, as the system's loader finds it.
        number: Which GPU, as CUDA counts them.
    """
    try:
        found = _gpu(ctypes.CDLL(library), int(number))
    except OSError:
        found = {"reason": f"the NVIDIA driver's library {library} cannot be loaded"}
    except (_RefusedError, AttributeError) as problem:
        found = {"reason": str(problem)}
    sys.stdout.write(json.dumps(found))
    return 0


class _RefusedError(Exception):
    pass


def _gpu(cuda: ctypes.CDLL, number: int) -> dict[str, str]:
    _call(cuda, "cuInit", 0)
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _call(cuda, "cuDeviceGet", ctypes.byref(device), number)
    _call(cuda, "cuDeviceGetName", name, _NAME_BYTES, device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    return {"name": name.value.decode(errors="replace"), "compute_capability": f"{major.value}.{minor.value}"}


def _call(cuda: ctypes.CDLL, function: str, *arguments: object) -> None:
    code = getattr(cuda, function)(*arguments)
    if code != 0:
        raise _RefusedError(f"the NVIDIA driver's {function} gave error {code}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
