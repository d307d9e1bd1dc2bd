"""How far long work has come: a bar with time left on a terminal, a line per finished piece elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mstedge.cli.console import note

if TYPE_CHECKING:
    from collections.abc import Iterator


class LineProgress:
    """Writes one line when a piece of work is done."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of `done` out of `total`."""
        if done == total:
            note(f"{what}: {total}")


class BarProgress:
    """Draws a bar per piece of work.

    Args:
        bars: A started `rich.progress.Progress`.
    """

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of `done` out of `total`."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done)


@contextmanager
def shown_progress() -> Iterator[LineProgress | BarProgress]:
    """Give something to report progress to, drawn on stderr."""
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield BarProgress(bars)
