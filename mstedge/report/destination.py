"""Where a report goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.errors import UsageError
from mstedge.manifest import MANIFEST_NAME, SUMS_NAME
from mstedge.run_card import CARD_NAME

if TYPE_CHECKING:
    from pathlib import Path


def destination_of(path: Path, output: Path | None) -> Path:
    """Decide where the report of a path is written.

    Args:
        path: What is reported on.
        output: What the user asked for, if anything.

    Raises:
        UsageError: The place is a folder, the input itself, or inside a bundle, whose sums allow no further file.
    """
    if output is None:
        return _default(path)
    if output.is_dir():
        raise UsageError(f"{output}: is a folder", hint=f"name a file: -o {output / 'report.html'}")
    if output.resolve() == path.resolve():
        raise UsageError(f"{output}: is the input itself: expected another file")
    if bundle := _bundle_around(output.resolve().parent):
        raise UsageError(
            f"{output}: is inside the bundle {bundle.name}, which may hold no further file",
            hint=f"write it beside the bundle: -o {bundle.name}.report.html",
        )
    return output


def _default(path: Path) -> Path:
    if (path / CARD_NAME).is_file():
        return path / "report.html"
    name = path.resolve().name if path.is_dir() else path.name.removesuffix(".json")
    bundle = _bundle_around(path.resolve().parent)
    if bundle is not None:
        inside = "-".join(path.resolve().relative_to(bundle).with_suffix("").parts)
        return bundle.with_name(f"{bundle.name}.{inside}.report.html")
    # A path such as "." has no parent of its own.
    folder = path.parent if path.name not in {"", ".."} else path.resolve().parent
    return folder / f"{name}.report.html"


def _bundle_around(folder: Path) -> Path | None:
    """Find the bundle that a folder is or lies in."""
    for candidate in (folder, *folder.parents):
        if (candidate / MANIFEST_NAME).is_file() and (candidate / SUMS_NAME).is_file():
            return candidate
    return None
