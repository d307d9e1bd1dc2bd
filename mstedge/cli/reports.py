"""HTML reports beside results, written where `[report]` is installed: a device needs no plotting library."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_report_where_possible(path: Path) -> Path | None:
    """Write the report of a result, or nothing where the packages for it are missing.

    Args:
        path: A run, a bundle or a result file.

    Returns:
        Where the report stands, or none.
    """
    if not all(_installed(package) for package in ("jinja2", "matplotlib")):
        return None
    from mstedge.report import write_report

    return write_report(path)


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        return False
