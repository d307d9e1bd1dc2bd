"""Any result of mstedge as one self-contained HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.files import write_atomically
from mstedge.report.destination import destination_of
from mstedge.report.kinds import page_of
from mstedge.report.page import html_from_page, require_packages

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_report"]


def write_report(path: Path, output: Path | None = None) -> Path:
    """Turn a result into one HTML file that needs no network; same input, same bytes.

    Args:
        path: A run folder, a bundle folder, or a JSON file that a command wrote.
        output: Where the report goes; by default into a run folder, and beside anything else.

    Returns:
        Where the report stands.

    Raises:
        MissingPackageError: jinja2 or matplotlib is not installed.
        UsageError: The path holds no result, or the report may not stand where it was asked for.
        BundleError: The bundle is damaged.
    """
    require_packages()
    target = destination_of(path, output)
    write_atomically(target, html_from_page(page_of(path)).encode())
    return target
