"""Importing OpenVINO, in the one place where it is done: the import itself would report to Intel.

`import openvino` brings its conversion tools, and these, unless told otherwise, write `~/intel` and send an event to
Google Analytics. They do without where the package `openvino_telemetry` cannot be imported.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TELEMETRY = "openvino_telemetry"
_LOCK = threading.Lock()


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    Raises:
        ImportError: It is not installed, or cannot be loaded here.
    """
    with _LOCK, _hidden(_TELEMETRY):
        import openvino  # noqa: PLC0415  an engine is loaded when it is needed
    return openvino


def openvino_version(openvino: Any) -> str:
    """Read the version like `2026.4.1`, without the build's number."""
    return str(openvino.__version__).split("-", maxsplit=1)[0]


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Keep a package from being imported; one that this process has already is its own affair."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # how Python spells "not here"
    try:
        yield
    finally:
        sys.modules.pop(package, None)
