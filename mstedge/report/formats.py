"""Numbers as people read them, and texts without the paths of the machine that made them."""

from __future__ import annotations

import math
import re

ABSENT = "\N{EN DASH}"
_POSIX_PATH = re.compile(r"(?<![\w.:/~<])(?:~|file:/{2})?/(?:[^/\n\"'<>:,;|]+/)+")
_WINDOWS_PATH = re.compile(r"\b[A-Za-z]:[\\/](?:[^\\/\n\"'<>:,;|]+[\\/])*")


def without_paths(text: str) -> str:
    """Cut every absolute path down to its last name: a report is passed on, folder and user names are not."""
    return _WINDOWS_PATH.sub("…/", _POSIX_PATH.sub("…/", text))


def number(value: float | None) -> str:
    """Write a value with three significant digits."""
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "infinite"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.3g}"


def figure(value: float) -> str:
    """Write a value with exactly three significant digits, so that those of a chart can be compared."""
    return number(value) if value == 0 or not math.isfinite(value) else f"{value:#.3g}".rstrip(".")


def count(value: int) -> str:
    """Write a whole number with thousands apart."""
    return f"{value:,}"


def percent(share: float | None) -> str:
    """Write a share as a percentage with one decimal."""
    return ABSENT if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def percent_range(low: float | None, high: float | None) -> str:
    """Write the ends of an interval of shares."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def points(difference: float | None) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    if difference is None or not math.isfinite(difference):
        return ABSENT
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Write a time span in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def latency(nanoseconds: float | None) -> str:
    """Write a latency in microseconds or milliseconds."""
    if nanoseconds is None:
        return ABSENT
    if nanoseconds < 999_500:
        return f"{figure(nanoseconds / 1e3)} µs"
    milliseconds = nanoseconds / 1e6
    return f"{figure(milliseconds)} ms" if milliseconds < 999.5 else f"{milliseconds:,.0f} ms"


def rate(per_second: float) -> str:
    """Write how often something happens in a second."""
    return f"{per_second:,.0f} /s" if per_second >= 100 else f"{figure(per_second)} /s"


def size(byte_count: int) -> str:
    """Write a number of bytes in bytes, KiB, MiB or GiB."""
    if byte_count < 1024:
        return f"{byte_count} bytes"
    for unit, scale in (("KiB", 1 << 10), ("MiB", 1 << 20)):
        if byte_count < scale << 10:
            return f"{byte_count / scale:.1f} {unit}"
    return f"{byte_count / (1 << 30):.1f} GiB"
