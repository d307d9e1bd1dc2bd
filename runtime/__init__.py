"""What runs on a device: numpy and one inference engine, never torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mstedge.runtime.predictor import Predictor as Predictor
    from mstedge.runtime.predictor import load as load

__all__ = ["Predictor", "load"]


def __getattr__(name: str) -> object:
    """Resolve the public names on first use, so that importing a sub-package does not load the predictor."""
    if name in __all__:
        from mstedge.runtime import predictor  # noqa: PLC0415  the lazy names

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
