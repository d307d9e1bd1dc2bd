"""What goes into an engine and comes out of it, held against the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.errors import BundleError, SampleError

if TYPE_CHECKING:
    from mstedge.manifest import Tensor
    from mstedge.runtime.backends.protocol import Floats


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """An input or output as an engine describes it.

    Attributes:
        name: Its name.
        kind: Its element type, as numpy calls it; the engine's own word for those that no manifest names.
        sizes: Its dimensions with the batch; none where one is free, and no sizes at all where even the rank is.
    """

    name: str
    kind: str
    sizes: tuple[int | None, ...]


def require_tensor(role: str, found: Sequence[EngineTensor], wanted: Tensor) -> None:
    """Require that a model has the one input or output that the manifest names.

    Args:
        role: `input` or `output`.
        found: All that the engine sees.
        wanted: What the manifest says.

    Raises:
        BundleError: Names, types or shapes differ, or the batch is fixed.
    """
    names = [each.name for each in found]
    if names != [wanted.name]:
        raise BundleError(f"the model has the {role}s {names}: the manifest says {[wanted.name]}")
    (tensor,) = found
    if tensor.kind != wanted.dtype:
        raise BundleError(f"the model's {role} {wanted.name!r} is {tensor.kind}: the manifest says {wanted.dtype}")
    batch, *sizes = tensor.sizes or (None,)
    fits = len(sizes) == len(wanted.shape) and all(
        size in {None, expected} for size, expected in zip(sizes, wanted.shape, strict=True)
    )
    if batch is not None or not fits:
        shown = ", ".join("?" if size is None else str(size) for size in tensor.sizes)
        expected = ", ".join(["batch", *(str(size) for size in wanted.shape)])
        raise BundleError(
            f"the model's {role} {wanted.name!r} has shape [{shown}]: expected [{expected}], batch of any size"
        )


def require_logits(logits: Any, rows: int, wanted: Tensor) -> Floats:
    """Take what an engine gave back, if it is what the manifest says.

    Args:
        logits: The array; its memory is this caller's own.
        rows: Number of samples that went in.
        wanted: The output in the manifest.

    Returns:
        Logits, float32 [rows, *shape].

    Raises:
        SampleError: The shape is another.
    """
    expected = (rows, *wanted.shape)
    if logits.shape != expected:
        raise SampleError(
            f"the network's output {wanted.name!r} has shape {list(logits.shape)}: expected {list(expected)}"
        )
    return np.asarray(logits, dtype=np.float32)
