"""Text from files and file names, made fit for a terminal."""

from __future__ import annotations


def printable(text: str, *, limit: int | None = None) -> str:
    """Write what cannot be printed as escapes, and cut the middle out of what is too long.

    Args:
        text: From a file name, a manifest, an error.
        limit: Most characters that shall remain.
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    if limit is None or len(shown) <= limit:
        return shown
    head = (limit - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def interval_text(low: float | None, high: float | None) -> str:
    """Write the bounds of a share in per cent, or that there are none.

    Args:
        low: Lower end, between -1 and 1.
        high: Upper end.
    """
    return "one seed bounds nothing" if low is None or high is None else f"{low:.1%} to {high:.1%}"


def measured_text(value: float | None) -> str:
    """Write a measurement with three significant digits; none is a value that was not a number."""
    return "not a number" if value is None else f"{value:.3g}"
