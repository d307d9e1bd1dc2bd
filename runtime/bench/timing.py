"""The timing core: warm-up, alternating blocks, raw nanoseconds.

It knows no engine and reads only the clock it is given.
"""

from __future__ import annotations

import gc
import time
from array import array
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Clock: TypeAlias = Callable[[], int]
    Progress: TypeAlias = Callable[[str, float], None]

_TREND_WINDOWS = 5
_STEADY_CHANGE_PER_WINDOW = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to time.

    Attributes:
        name: What the series is called.
        run: Does it once; told how many calls came before, so that it can go through its inputs.
        keep: Receives what a measured call returned, outside the timed part.
    """

    name: str
    run: Callable[[int], Any]
    keep: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Attributes:
        total_ns: Time for everything, warm-up included.
        warmup_ns: Most of it for the warm-up of one target.
        window_ns: Length of the windows whose medians tell whether latency is steady.
        block_ns: Length of one block: targets take turns, so that drift of the machine hits all alike.
        most_samples: Most samples per target, the same share of them in every block.
    """

    total_ns: int
    warmup_ns: int
    window_ns: int = 40_000_000
    block_ns: int = 100_000_000
    most_samples: int = 100_000


@dataclass(frozen=True, slots=True)
class Timed:
    """What the clock said about one target, every call in order.

    Attributes:
        name: Name of the target.
        warmup_ns: Calls before, the first inference first.
        samples_ns: Measured calls; nothing is dropped.
        steady: Whether latency was steady when the warm-up ended.
    """

    name: str
    warmup_ns: Sequence[int]
    samples_ns: Sequence[int]
    steady: bool


@dataclass(slots=True)
class _Course:
    """One target on its way; `array` holds a sample in 8 bytes, so that measuring does not move peak memory."""

    target: Target
    calls: int = 0
    steady: bool = False
    warmup_ns: array[int] = field(default_factory=lambda: array("q"))
    samples_ns: array[int] = field(default_factory=lambda: array("q"))


def time_targets(
    targets: Sequence[Target], plan: Plan, *, clock: Clock = time.perf_counter_ns, progress: Progress | None = None
) -> tuple[Timed, ...]:
    """Warm every target up, then time all of them in alternating blocks.

    The garbage collector rests while the clock runs; blocks go A B, B A, A B, … so that no target always follows the
    other's rise of temperature. However slow a target is, it is called at least twice: once to warm up, once measured.

    Args:
        targets: What to time.
        plan: How long.
        clock: Nanoseconds that never go back.
        progress: Told the phase and the share of its time that is done, between blocks.
    """
    tell = progress or (lambda _phase, _share: None)
    begin = clock()
    courses = [_Course(target) for target in targets]
    for course in courses:
        tell("warming up", min(1.0, (clock() - begin) / plan.total_ns))
        with garbage_collector_resting():
            _warm_up(course, plan, clock)
    left_ns = begin + plan.total_ns - clock()
    rounds = max(1, left_ns // (plan.block_ns * len(courses)))
    most_per_block = max(1, plan.most_samples // rounds)
    for number in range(rounds):
        elapsed_ns = clock() - begin
        if number > 0 and elapsed_ns >= plan.total_ns:
            break
        tell("measuring", min(1.0, elapsed_ns / plan.total_ns))
        for course in courses if number % 2 == 0 else reversed(courses):
            with garbage_collector_resting():
                _measure_block(course, plan.block_ns, most_per_block, clock)
    tell("done", 1.0)
    return tuple(_timed(course) for course in courses)


@contextmanager
def garbage_collector_resting() -> Iterator[None]:
    """Keep Python's garbage collector from running inside the block, and leave it as it was."""
    was_running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_running:
            gc.enable()


def is_steady(medians: Sequence[float]) -> bool:
    """Tell whether latency has stopped moving: the trend of the last five window medians is under 1 % per window.

    Args:
        medians: One per window, in order.
    """
    last = medians[-_TREND_WINDOWS:]
    if len(last) < _TREND_WINDOWS:
        return False
    centred = [position - (_TREND_WINDOWS - 1) / 2 for position in range(_TREND_WINDOWS)]
    slope = sum(x * y for x, y in zip(centred, last, strict=True)) / sum(x * x for x in centred)
    return abs(slope) < _STEADY_CHANGE_PER_WINDOW * median(last)


def _warm_up(course: _Course, plan: Plan, clock: Clock) -> None:
    """Call the target until its latency is steady or its time is over; the first call is in no window."""
    begin = clock()
    course.warmup_ns.append(_timed_call(course, clock))
    medians: list[float] = []
    window: list[int] = []
    window_end = clock() + plan.window_ns
    while clock() - begin < plan.warmup_ns:
        window.append(_timed_call(course, clock))
        course.warmup_ns.append(window[-1])
        if clock() < window_end:
            continue
        medians.append(median(window))
        if is_steady(medians):
            course.steady = True
            return
        window.clear()
        window_end = clock() + plan.window_ns


def _measure_block(course: _Course, block_ns: int, most: int, clock: Clock) -> None:
    block_end = clock() + block_ns
    for _ in range(most):
        course.samples_ns.append(_timed_call(course, clock, course.target.keep))
        if clock() >= block_end:
            return


def _timed_call(course: _Course, clock: Clock, keep: Callable[[Any], None] | None = None) -> int:
    run, number = course.target.run, course.calls
    course.calls += 1
    start = clock()
    answer = run(number)
    elapsed = clock() - start
    if keep is not None:
        keep(answer)
    return elapsed


def _timed(course: _Course) -> Timed:
    return Timed(
        name=course.target.name,
        warmup_ns=course.warmup_ns,
        samples_ns=course.samples_ns,
        steady=course.steady,
    )
