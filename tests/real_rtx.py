"""The real TensorRT-RTX, which parses and builds without a GPU, for tests that need a true builder."""

from __future__ import annotations

import pytest

from mstedge.errors import MachineError
from mstedge.runtime.trt.gpu import GpuState
from mstedge.runtime.trt.library import TensorRt, find_library

NO_GPU = GpuState(None, "this test takes no GPU")


def rtx_or_skip() -> TensorRt:
    """Give TensorRT-RTX, or skip the test where its wheels are absent."""
    try:
        return find_library("tensorrt-rtx", NO_GPU, l4t=None)
    except MachineError as problem:
        pytest.skip(f"{problem.message}: {problem.hint}")
