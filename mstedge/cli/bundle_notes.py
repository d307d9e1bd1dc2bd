"""What a person must know of a bundle and of the files for it, beside any result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mstedge.manifest import Manifest, ParitySummary

_NAMES_SHOWN = 5


def note_parity(parity: ParitySummary) -> None:
    """Warn of a bundle that did not pass its gate and was exported all the same."""
    from mstedge.cli.console import note
    from mstedge.parity_words import alarm

    found = alarm(parity)
    if found is not None:
        note(f"warning: {found}")


def note_engine_pending(manifest: Manifest, bundle: Path) -> None:
    """Say where a bundle's parity was measured on the portable graph alone, and what closes that gap."""
    from mstedge.cli.console import note

    if manifest.target == "trt" and manifest.parity.scope == "graph":
        note(f"note: engine parity is pending: the graph was compared; on the device: mstedge build {bundle}")


def note_skipped(skipped: Sequence[Path]) -> None:
    """Name files in a folder that were not looked at."""
    from mstedge.cli.console import note
    from mstedge.cli.text import printable

    if skipped:
        names = [printable(str(path), limit=60) for path in skipped[:_NAMES_SHOWN]]
        more = f" and {len(skipped) - _NAMES_SHOWN} more" if len(skipped) > _NAMES_SHOWN else ""
        note(f"note: skipped, not of this bundle's modality by their suffix: {', '.join(names)}{more}")
