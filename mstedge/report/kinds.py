"""Which page shows which result: by the file that marks a folder, or by the `schema` of a JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mstedge.errors import UsageError, nearest
from mstedge.manifest import MANIFEST_NAME
from mstedge.report.bench_page import bench_page
from mstedge.report.bundle_page import bundle_page
from mstedge.report.check_pages import comparison_page, parity_page, verify_page
from mstedge.report.engine_page import engine_page
from mstedge.report.evaluation_page import evaluation_page
from mstedge.report.explanation_page import explanation_page
from mstedge.report.measured import measured_page
from mstedge.report.run_page import run_page
from mstedge.run_card import CARD_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mstedge.report.page import Page

FOLDER_PAGES: dict[str, Callable[[Path], Page]] = {CARD_NAME: run_page, MANIFEST_NAME: bundle_page}
DOCUMENT_PAGES: dict[str, Callable[[Path], Page]] = {
    "mstedge.run/1": run_page,
    "mstedge.manifest/1": bundle_page,
    "mstedge.parity/1": parity_page,
    "mstedge.verify/1": verify_page,
    "mstedge.bench/1": bench_page,
    "mstedge.comparison/1": comparison_page,
    "mstedge.evaluation/1": evaluation_page,
    "mstedge.explanation/1": explanation_page,
    "mstedge.engine/1": engine_page,
    "mstedge.export-measurement/1": measured_page,
}
TAKES = (
    f"expected a run folder (with {CARD_NAME}), a bundle folder (with {MANIFEST_NAME}) "
    "or a JSON file that a command of mstedge wrote"
)


def page_of(path: Path) -> Page:
    """Make the page of a result.

    Args:
        path: A run folder, a bundle folder or a JSON file.

    Raises:
        UsageError: There is nothing there that a report can show.
    """
    if not path.exists():
        raise UsageError(f"{path}: does not exist: {TAKES}")
    if path.is_dir():
        return _page_of_folder(path)
    schema = _schema_of(path)
    if schema not in DOCUMENT_PAGES:
        what = "has no schema" if schema is None else f"has the schema {schema!r}"
        raise UsageError(f"{path}: {what}: {TAKES}", hint=nearest(schema or "", DOCUMENT_PAGES))
    return DOCUMENT_PAGES[schema](path)


def _page_of_folder(folder: Path) -> Page:
    """Pick by name alone: nothing in a bundle is opened before it is proved."""
    for name, page in FOLDER_PAGES.items():
        if (folder / name).is_file():
            return page(folder / name)
    raise UsageError(f"{folder}: is a folder without {' or '.join(FOLDER_PAGES)}: {TAKES}")


def _schema_of(document: Path) -> str | None:
    try:
        value: Any = msgspec.json.decode(document.read_bytes())
    except OSError as problem:
        raise UsageError(f"{document}: cannot be read: {problem.strerror}") from None
    except (msgspec.DecodeError, RecursionError) as problem:
        raise UsageError(f"{document}: is not a JSON document ({problem}): {TAKES}") from None
    schema = value.get("schema") if isinstance(value, dict) else None
    return schema if isinstance(schema, str) else None
