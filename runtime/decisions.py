"""From the answers for one clip after another to events: smoothing, hysteresis, least duration, refractory time.

docs/bundle.md gives the same rules as formulas, for other languages.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mstedge.runtime.postprocess import Answer, answer_of, is_silent, softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.manifest import Postprocess


_BEFORE_ALL = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Event:
    """A label begins or ends.

    Attributes:
        kind: Which of the two.
        label: The class in words.
        index: Its position among the labels.
        start: Absolute index of the first sample (or frame) of the first clip that the label led, or of the first that
            no earlier event of the same label covers.
        end: Absolute index behind the last sample of the last clip that held the label; at the beginning, of the clip
            that confirmed it.
        hops: Clips from that first one to that last one.
        peak_probability: Largest smoothed probability of the label over them.
        mean_probability: Mean of the smoothed probabilities of the label over them.
    """

    kind: Literal["begin", "end"]
    label: str
    index: int
    start: int
    end: int
    hops: int
    peak_probability: float
    mean_probability: float


@dataclass(slots=True)
class _Run:
    """Hops in a row that speak for one label.

    Attributes:
        index: Its position among the labels.
        start: First sample of the first hop.
        end: Behind the last sample of the last hop.
        hops: How many.
        peak: Largest smoothed probability.
        total: Their sum.
    """

    index: int
    start: int
    end: int = 0
    hops: int = 0
    peak: float = 0.0
    total: float = 0.0

    def add(self, probability: float, end: int) -> None:
        """Count one more hop."""
        self.hops += 1
        self.end = end
        self.peak = max(self.peak, probability)
        self.total += probability


@dataclass(slots=True)
class _Past:
    """All that is known of the hops so far.

    Attributes:
        recent: Probabilities of the last hops that were not silent, [classes] each.
        free_hop: Number of the first hop at which a label may lead again, per label.
        covered_until: Where the last event ended, per label.
        last: Start and end of the last clip.
        hop: Number of the last hop, from 1.
        answer: What was answered then.
        event: The event that runs.
        lead: The label that leads and has not begun.
    """

    recent: deque[NDArray[np.float64]]
    free_hop: list[int]
    covered_until: list[int]
    last: tuple[int, int] = (_BEFORE_ALL, _BEFORE_ALL)
    hop: int = 0
    answer: Answer | None = None
    event: _Run | None = None
    lead: _Run | None = None


class Decisions:
    """Turns hops into events. It has no clock and no randomness: the same hops give the same events.

    At most one event runs at a time. Unknown and silence are no events; a class that has one of these words as its
    label ends the event of another, but begins none. Not for several threads at once: each stream has its own.

    Args:
        labels: Classes, in the order of the logits.
        rule: From logits to an answer, and from answers to events.
    """

    def __init__(self, labels: tuple[str, ...], rule: Postprocess) -> None:
        self._labels = labels
        self._rule = rule
        self._release = rule.threshold if rule.stream.release is None else rule.stream.release
        self._past = self._nothing()

    @property
    def answer(self) -> Answer | None:
        """The smoothed answer of the last hop, unknown and silence included; none before the first."""
        return self._past.answer

    @property
    def running(self) -> str | None:
        """The label of the event that has begun and not ended."""
        return None if self._past.event is None else self._labels[self._past.event.index]

    def push(self, logits: NDArray[Any], start: int, end: int, level_dbfs: float | None = None) -> list[Event]:
        """Take one hop.

        Args:
            logits: float32 [classes], finite.
            start: Absolute index of the clip's first sample (or of the frame); above that of the hop before.
            end: Index behind its last sample.
            level_dbfs: Level of the clip; none where there is none to look at.

        Returns:
            What ended and what began, in this order: at most one of each.

        Raises:
            ValueError: The hop does not come after the one before.
        """
        if end <= start or start <= self._past.last[0] or end <= self._past.last[1]:
            raise ValueError(f"the clip {start} to {end} came after {self._past.last[0]} to {self._past.last[1]}")
        self._past.last = (start, end)
        self._past.hop += 1
        probabilities = softmax(logits, self._rule.temperature)
        if is_silent(level_dbfs, self._rule):
            self._past.recent.clear()
            self._past.lead = None
            self._past.answer = answer_of(int(logits.argmax()), probabilities, self._labels, self._rule, silent=True)
            return self._ended()
        self._past.recent.append(probabilities)
        smoothed = np.mean(self._past.recent, axis=0) if len(self._past.recent) > 1 else probabilities
        index = _leader(smoothed, logits)
        self._past.answer = answer_of(index, smoothed, self._labels, self._rule, silent=False)
        if self._is_confirmed(index, float(smoothed[index]), start, end):
            return self._begun()
        return self._released(smoothed, end)

    def flush(self) -> list[Event]:
        """End the stream: an event that runs ends with the last hop that held it. What comes next is a new stream."""
        events = self._ended()
        self.reset()
        return events

    def reset(self) -> None:
        """Forget everything, as if no hop had come."""
        self._past = self._nothing()

    def _nothing(self) -> _Past:
        classes = len(self._labels)
        return _Past(deque(maxlen=self._rule.stream.smoothing_hops), [0] * classes, [_BEFORE_ALL] * classes)

    def _is_confirmed(self, index: int, probability: float, start: int, end: int) -> bool:
        """Count the hop for the label that leads: has it led for long enough to begin?"""
        if not self._may_begin(index, probability):
            self._past.lead = None
            return False
        if self._past.lead is None or self._past.lead.index != index:
            self._past.lead = _Run(index, max(start, self._past.covered_until[index]))
        self._past.lead.add(probability, end)
        return self._past.lead.hops >= self._rule.stream.minimum_hops

    def _begun(self) -> list[Event]:
        """Let the label that leads take the place of the event that runs."""
        events = self._ended()
        lead, self._past.lead = self._past.lead, None
        if lead is None or self._labels[lead.index] in {self._rule.unknown, self._rule.silence}:
            return events
        self._past.event = lead
        return [*events, self._described("begin", lead)]

    def _released(self, smoothed: NDArray[np.float64], end: int) -> list[Event]:
        """Let the event that runs go on, or end it where its label is released."""
        if self._past.event is None:
            return []
        probability = float(smoothed[self._past.event.index])
        if probability < self._release:
            return self._ended()
        self._past.event.add(probability, end)
        return []

    def _may_begin(self, index: int, probability: float) -> bool:
        if self._past.event is not None and self._past.event.index == index:
            return False
        return probability >= self._rule.threshold and self._past.hop >= self._past.free_hop[index]

    def _ended(self) -> list[Event]:
        """End the event that runs, if one does."""
        if self._past.event is None:
            return []
        event, self._past.event = self._past.event, None
        self._past.covered_until[event.index] = event.end
        self._past.free_hop[event.index] = self._past.hop + self._rule.stream.refractory_hops
        return [self._described("end", event)]

    def _described(self, kind: Literal["begin", "end"], run: _Run) -> Event:
        return Event(
            kind=kind,
            label=self._labels[run.index],
            index=run.index,
            start=run.start,
            end=run.end,
            hops=run.hops,
            peak_probability=run.peak,
            mean_probability=run.total / run.hops,
        )


def _leader(smoothed: NDArray[np.float64], logits: NDArray[Any]) -> int:
    """Find the most probable class; between equals the newest logits decide, then the order of the labels."""
    highest = np.flatnonzero(smoothed == smoothed.max())
    return int(highest[logits[highest].argmax()])
