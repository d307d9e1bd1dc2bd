"""Answers for programs: JSON lines and CSV, each line out before the next answer."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TextIO

import msgspec

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from mstedge.prediction import Prediction

_COLUMNS = ("source", "label", "index", "probability", "start_seconds", "end_seconds", "total_ms")


class JsonLinesSink:
    """One JSON document `mstedge.prediction/1` per line and answer.

    Args:
        stream: Where to; it stays open.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, prediction: Prediction) -> None:
        """Write one line and flush it."""
        self._stream.write(msgspec.json.encode(prediction).decode() + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Flush."""
        self._stream.flush()


class CsvSink:
    """A header and one row per answer. What an answer does not have (the seconds of a picture) is an empty cell.

    Args:
        stream: Where to, opened with `newline=""`; it stays open.
        labels: Labels of the classes, for one more column `probability of LABEL` each; none leaves them out.
    """

    def __init__(self, stream: TextIO, *, labels: tuple[str, ...] | None = None) -> None:
        self._stream, self._labels = stream, labels
        self._rows = csv.writer(stream, lineterminator="\n")
        self._rows.writerow([*_COLUMNS, *(f"probability of {label}" for label in labels or ())])

    def write(self, prediction: Prediction) -> None:
        """Write one row and flush it.

        Raises:
            ConfigError: The answer has another number of classes than there are labels.
        """
        probabilities: tuple[float, ...] = ()
        if self._labels is not None:
            probabilities = prediction.probabilities
            if len(probabilities) != len(self._labels):
                raise ConfigError(
                    f"an answer with {len(probabilities)} probabilities: expected {len(self._labels)}, one per label"
                )
        self._rows.writerow(
            [
                prediction.source,
                prediction.label,
                prediction.index,
                prediction.probability,
                prediction.start_seconds,
                prediction.end_seconds,
                round(prediction.times.total_ms, 3),
                *probabilities,
            ]
        )
        self._stream.flush()

    def close(self) -> None:
        """Flush."""
        self._stream.flush()
