"""mstedge: train a small single-modality network with the help of other modalities, and prove it on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mstedge.runtime import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> object:
    """Resolve `mstedge.load` on first use, so that importing the package loads no engine."""
    if name == "load":
        from mstedge.runtime import load  # noqa: PLC0415  the lazy name

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
