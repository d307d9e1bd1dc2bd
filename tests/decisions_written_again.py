"""The rules for streams in docs/bundle.md, followed step by step over the whole stream: slow, and independent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mstedge.manifest import Postprocess
from mstedge.runtime.postprocess import softmax


@dataclass(frozen=True)
class Hop:
    logits: np.ndarray
    start: int
    end: int
    level: float | None = None


@dataclass
class WrittenAgain:
    """Answers (label, index) and events (kind, label, start, end, hops) of a stream that has ended."""

    labels: tuple[str, ...]
    rule: Postprocess
    hops: list[Hop]
    answers: list[tuple[str, int]] = field(default_factory=list)
    events: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    since_silence: list[np.ndarray] = field(default_factory=list)
    counted: list[int | None] = field(default_factory=list)  # the class that each hop counts for; none once used up
    held: list[set[int]] = field(default_factory=list)  # the classes whose events each hop belongs to
    running: int | None = None
    first: int = 0  # first hop of the event that runs
    start: int = 0
    covered: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for now in range(len(self.hops)):
            self.counted.append(None)
            self.held.append(set())
            self.step(now)
        self.end(len(self.hops) - 1)

    def step(self, now: int) -> None:
        hop, rule, stream = self.hops[now], self.rule, self.rule.stream
        if hop.level is not None and rule.silence_dbfs is not None and hop.level < rule.silence_dbfs:
            self.since_silence.clear()
            self.answers.append((rule.silence, int(hop.logits.argmax())))
            self.end(now - 1)
            return
        self.since_silence.append(softmax(hop.logits, rule.temperature))
        m = np.mean(self.since_silence[-stream.smoothing_hops :], axis=0)
        leader = max(range(len(m)), key=lambda c: (m[c], hop.logits[c], -c))
        enough = bool(m[leader] >= rule.threshold)
        self.answers.append((self.labels[leader] if enough else rule.unknown, leader))
        if enough and self.running != leader and self.rested(now, leader):
            self.counted[now] = leader
            if self.begins(now, leader):
                return
        release = rule.threshold if stream.release is None else stream.release
        if self.running is not None and m[self.running] >= release:
            self.held[now].add(self.running)
        else:
            self.end(now - 1)

    def rested(self, now: int, leader: int) -> bool:
        last_held = max((hop for hop in range(now) if leader in self.held[hop]), default=None)
        return last_held is None or now - last_held - 1 >= self.rule.stream.refractory_hops

    def begins(self, now: int, leader: int) -> bool:
        first = now
        while first > 0 and self.counted[first - 1] == leader:
            first -= 1
        if now - first + 1 < self.rule.stream.minimum_hops:
            return False
        self.counted[first : now + 1] = [None] * (now + 1 - first)
        self.end(now - 1)
        if self.labels[leader] in {self.rule.unknown, self.rule.silence}:
            return True
        self.running, self.first = leader, first
        self.start = max(self.hops[first].start, self.covered.get(leader, self.hops[first].start))
        for hop in range(first, now + 1):
            self.held[hop].add(leader)
        self.events.append(("begin", self.labels[leader], self.start, self.hops[now].end, now - first + 1))
        return True

    def end(self, last: int) -> None:
        if self.running is not None:
            end = self.hops[last].end
            self.events.append(("end", self.labels[self.running], self.start, end, last - self.first + 1))
            self.covered[self.running] = end
            self.running = None
