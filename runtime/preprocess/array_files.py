"""NumPy's .npy files, read by their plain header: nothing is unpickled, nothing is allocated on a header's word."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.arrays import decoded_from_array
from mstedge.runtime.preprocess.decoded import Decoded
from mstedge.specs import ArraySpec

# Version 1.0 of the format has at most 64 KiB of header; later ones exist for structures with very long names.
_MAX_HEADER_BYTES = 10 + (1 << 16)
_MAX_ELEMENT_BYTES = 16


def decode_array_file(path: Path, spec: ArraySpec) -> Decoded:
    """Read one array of the spec's shape.

    Args:
        path: A .npy file of any real element type.
        spec: The front end that it is meant for.

    Raises:
        SampleError: It is no .npy file of version 1.0, is truncated, or its shape, type or values do not fit.
        OSError: It cannot be read.
    """
    limit = math.prod(spec.shape) * _MAX_ELEMENT_BYTES + _MAX_HEADER_BYTES
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    values = _array_from_bytes(content, spec, str(path))
    return decoded_from_array(values, spec, source=str(path))


def _array_from_bytes(content: bytes, spec: ArraySpec, source: str) -> NDArray[Any]:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise SampleError(f"{source}: version {version[0]}.{version[1]} of the .npy format: expected 1.0")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as problem:
        raise SampleError(f"{source}: not a .npy file: {problem}") from None
    if shape != spec.shape:
        raise SampleError(f"{source} has the shape {list(shape)}: expected {list(spec.shape)}")
    if dtype.kind not in "biuf":
        raise SampleError(f"{source} has the element type {dtype}: expected real numbers")
    needed, present = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if present < needed:
        raise SampleError(f"{source}: truncated: its header announces {needed} bytes of numbers, {present} are there")
    flat: NDArray[Any] = np.frombuffer(content, dtype=dtype, count=math.prod(shape), offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")
