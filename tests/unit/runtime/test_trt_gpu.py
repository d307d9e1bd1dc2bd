"""Asking for the GPU: with no driver, and with made-up drivers that answer, refuse, or crash."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mstedge.engine_build import Gpu
from mstedge.runtime.trt.gpu import driver_release, find_gpu

# The driver's functions as CUDA's documentation declares them.
FAKE_DRIVER = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { %(init)s }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "%(name)s", size); return device; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : 7; return device; }
"""


def driver(folder: Path, *, init: str = "return (int)flags;", name: str = "Orin (nvgpu)") -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a made-up driver needs a C compiler, and there is none here")
    source, library = folder / "driver.c", folder / "libfakecuda.so"
    source.write_text(FAKE_DRIVER % {"init": init, "name": name})
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


def test_machine_without_a_driver() -> None:
    found = find_gpu("libno-such-driver.so.1")
    assert found.gpu is None
    assert found.reason == "the NVIDIA driver's library libno-such-driver.so.1 cannot be loaded"


def test_gpu_is_named(tmp_path: Path) -> None:
    assert find_gpu(driver(tmp_path)) == (Gpu(name="Orin (nvgpu)", compute_capability="8.7"), "")


def test_name_cannot_steer_a_terminal(tmp_path: Path) -> None:
    gpu = find_gpu(driver(tmp_path, name=r"RTX\033[31m\n2000")).gpu
    assert gpu is not None
    assert gpu.name == "RTX[31m2000"


def test_driver_that_finds_no_device(tmp_path: Path) -> None:
    assert find_gpu(driver(tmp_path, init="return 100;")) == (None, "the NVIDIA driver's cuInit gave error 100")


def test_driver_that_crashes_does_not_take_us_along(tmp_path: Path) -> None:
    found = find_gpu(driver(tmp_path, init="abort();"))
    assert found.gpu is None
    assert found.reason == "asking the NVIDIA driver ended with code -6"


def test_library_that_is_no_driver() -> None:
    found = find_gpu("libc.so.6")
    assert found.gpu is None
    assert "cuInit" in found.reason


def test_gpu_that_was_asked_for_is_the_one_that_is_asked_about(tmp_path: Path) -> None:
    # The made-up driver answers for the first device only, with the number of any other as its error.
    assert find_gpu(driver(tmp_path), number=3) == (None, "the NVIDIA driver's cuDeviceGetName gave error 3")


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n", "550.54.14"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.65.06  Release Build  (root@host)\n",
            "580.65.06",
        ),
        ("something else\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_release_of_the_driver(tmp_path: Path, text: str | None, release: str) -> None:
    if text is not None:
        (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
        (tmp_path / "proc/driver/nvidia/version").write_text(text)
    assert driver_release(None, tmp_path) == release
    assert driver_release("36.4.7", tmp_path) == "L4T 36.4.7"
