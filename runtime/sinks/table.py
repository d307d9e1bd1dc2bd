"""Answers for people: aligned columns whose widths are known before the first answer, so that lines can come live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mstedge.prediction import Prediction

_WIDEST_SOURCE = 60
_WIDEST_LABEL = 30


class _Column(NamedTuple):
    title: str
    width: int
    right: bool = False


class TableSink:
    """Prints one aligned line per answer as it comes.

    Args:
        stream: Where to; it stays open.
        labels: Labels of the classes, in order.
        other_labels: What stands for a label where no class is meant: the manifest's words for unknown and silence.
        sources: Names of the sources that will be answered for, as far as they are known; a longer one that comes
            later is cut in the middle.
        place: `source` for files and pictures, `seconds` for sound that goes on, `both` for several sources of it.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        labels: tuple[str, ...],
        other_labels: Iterable[str] = ("unknown",),
        sources: Iterable[str] = (),
        place: Literal["source", "seconds", "both"] = "source",
    ) -> None:
        self._stream, self._labels, self._place = stream, labels, place
        label_width = _widest((*labels, *other_labels, "label"), _WIDEST_LABEL)
        second_width = max(_widest(labels, _WIDEST_LABEL) + len(" 0.0000"), len("second best"))
        by_name = [_Column("source", _widest((*sources, "source"), _WIDEST_SOURCE))]
        by_time = [_Column("from s", 9, right=True), _Column("to s", 9, right=True)]
        self._columns = [
            *(by_name if place != "seconds" else []),
            *(by_time if place != "source" else []),
            _Column("label", label_width),
            _Column("probability", 11, right=True),
            _Column("second best", second_width),
            _Column("ms", 7, right=True),
        ]
        self._headed = False

    def write(self, prediction: Prediction) -> None:
        """Print a line, the header before the first one."""
        if not self._headed:
            self._line([column.title for column in self._columns])
            self._line(["─" * column.width for column in self._columns])
            self._headed = True
        source = [terminal_text(prediction.source, self._columns[0].width)] if self._place != "seconds" else []
        seconds = [_seconds(prediction.start_seconds), _seconds(prediction.end_seconds)]
        self._line(
            [
                *source,
                *(seconds if self._place != "source" else []),
                terminal_text(prediction.label, _WIDEST_LABEL),
                f"{prediction.probability:.4f}",
                second_best(prediction, self._labels),
                f"{prediction.times.total_ms:.1f}",
            ]
        )

    def close(self) -> None:
        """Flush."""
        self._stream.flush()

    def _line(self, cells: list[str]) -> None:
        aligned = [
            cell.rjust(column.width) if column.right else cell.ljust(column.width)
            for cell, column in zip(cells, self._columns, strict=True)
        ]
        self._stream.write("  ".join(aligned).rstrip() + "\n")
        self._stream.flush()


def second_best(prediction: Prediction, labels: tuple[str, ...]) -> str:
    """Name the class to think of next, with its probability: behind an unknown, that is the most probable one.

    Args:
        prediction: The answer.
        labels: Labels of the classes, in order.
    """
    shown = prediction.index if prediction.label == labels[prediction.index] else None
    others = [index for index in range(len(labels)) if index != shown]
    if not others:
        return "-"
    best = max(others, key=lambda index: prediction.probabilities[index])
    return f"{terminal_text(labels[best], _WIDEST_LABEL)} {prediction.probabilities[best]:.4f}"


def terminal_text(text: str, limit: int) -> str:
    """Write what cannot be printed as escapes, and cut the middle out of what is too long.

    Args:
        text: From a file name or a manifest.
        limit: Most characters that shall remain.
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    if len(shown) <= limit:
        return shown
    head = (limit - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def _widest(texts: Iterable[str], limit: int) -> int:
    return max((len(terminal_text(text, limit)) for text in texts), default=0)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
