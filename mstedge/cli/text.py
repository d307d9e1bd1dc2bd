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
