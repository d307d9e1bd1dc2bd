"""What a run writes while it learns: metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import msgspec

from mstedge.run_card import METRICS_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mstedge.training.method.phase import MetricRow, StageName


class Recorder:
    """Appends metric rows; a resumed run first forgets the rows that come again.

    Args:
        folder: The run folder.
        keep_rows: Lines of metrics.jsonl that are kept.
    """

    def __init__(self, folder: Path, *, keep_rows: int = 0) -> None:
        self._path = folder / METRICS_NAME
        lines = self._path.read_bytes().splitlines(keepends=True)[:keep_rows] if self._path.exists() else []
        self._path.write_bytes(b"".join(lines))
        self.rows = len(lines)
        self._events = _event_writer(folder)

    def record(self, stage: StageName, epoch: int, rows: list[MetricRow]) -> None:
        """Append the rows of one epoch."""
        with self._path.open("ab") as stream:
            for row in rows:
                stream.write(msgspec.json.encode({"stage": stage, "epoch": epoch, **row}) + b"\n")
        self.rows += len(rows)
        if self._events is not None:
            for name, value in (scalar for row in rows for scalar in _scalars(row)):
                self._events.add_scalar(f"{stage}/{name}", value, epoch)

    def close(self) -> None:
        """Finish the TensorBoard events."""
        if self._events is not None:
            self._events.close()


class NoRecorder:
    """Takes metrics and writes nothing: for every process but the first."""

    rows = 0

    def record(self, stage: StageName, epoch: int, rows: list[MetricRow]) -> None:
        """Forget the rows of one epoch."""

    def close(self) -> None:
        """Finish nothing."""


def _scalars(row: MetricRow) -> Iterator[tuple[str, float]]:
    owner = f"{row['teacher']}/" if "teacher" in row else ""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from ((f"{owner}{name}/{key}", each) for key, each in value.items() if not isinstance(each, str))
        elif name != "teacher":
            yield f"{owner}{name}", value


def _event_writer(folder: Path) -> Any:
    """Make a TensorBoard writer where the package is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  a second to import

    return SummaryWriter(str(folder / "tensorboard"))
