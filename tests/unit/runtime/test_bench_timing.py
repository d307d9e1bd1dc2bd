"""The timing core on a clock that only moves when something is done: every nanosecond is known."""

from __future__ import annotations

import gc
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

import pytest

from mstedge.runtime.bench.timing import Plan, Target, garbage_collector_resting, is_steady, time_targets

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1_000_000
PLAN = Plan(total_ns=10_000 * MS, warmup_ns=1000 * MS)


class Machine:
    """A clock, and targets whose calls take the time that a function of the call's number says."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.calls: list[str] = []
        self.latencies: dict[str, list[int]] = {}

    def clock(self) -> int:
        return self.now_ns

    def target(self, name: str, latency_ns: Callable[[int], float], keep: Callable[[object], None] | None = None):
        taken = self.latencies.setdefault(name, [])

        def run(number: int) -> int:
            assert number == len(taken)
            taken.append(int(latency_ns(number)))
            self.calls.append(name)
            self.now_ns += taken[-1]
            return taken[-1]

        return Target(name, run, keep)


def test_every_call_is_kept_in_order_and_nothing_is_dropped():
    machine = Machine()
    # One call in a hundred takes a hundred times as long: what others throw away as outliers.
    target = machine.target("engine", lambda number: 100 * MS if number % 100 == 99 else MS)
    (timed,) = time_targets([target], PLAN, clock=machine.clock)
    assert [*timed.warmup_ns, *timed.samples_ns] == machine.latencies["engine"]
    assert max(timed.samples_ns) == 100 * MS


def test_the_first_inference_is_kept_apart():
    machine = Machine()
    (timed,) = time_targets([machine.target("engine", lambda n: 500 * MS if n == 0 else MS)], PLAN, clock=machine.clock)
    assert timed.warmup_ns[0] == 500 * MS
    assert set(timed.samples_ns) == {MS}


def test_the_warm_up_waits_until_a_ramp_has_ended():
    machine = Machine()
    # A clock that climbs for 300 ms: 3 ms per call at first, 1 ms in the end.
    target = machine.target("engine", lambda _number: MS * (3 - 2 * min(1, machine.now_ns / (300 * MS))))
    (timed,) = time_targets([target], PLAN, clock=machine.clock)
    assert timed.steady
    assert 300 * MS < sum(timed.warmup_ns) < 800 * MS
    assert set(timed.samples_ns) == {MS}


def test_the_warm_up_ends_as_soon_as_latency_is_steady():
    machine = Machine()
    (timed,) = time_targets([machine.target("engine", lambda _n: MS)], PLAN, clock=machine.clock)
    assert timed.steady
    assert sum(timed.warmup_ns) <= 6 * PLAN.window_ns


def test_a_warm_up_that_never_gets_steady_ends_by_time_and_says_so():
    machine = Machine()
    # 1.5 % slower in every window.
    target = machine.target("engine", lambda _number: MS * 1.015 ** (machine.now_ns / PLAN.window_ns))
    (timed,) = time_targets([target], PLAN, clock=machine.clock)
    assert not timed.steady
    assert PLAN.warmup_ns <= sum(timed.warmup_ns) <= 1.05 * PLAN.warmup_ns


def test_steady_means_a_trend_under_one_percent_per_window():
    assert is_steady([100.0, 100.0, 100.0, 100.0, 100.0])
    assert is_steady([500.0, 100.0, 102.0, 100.0, 98.0, 100.0])
    assert is_steady([100.0, 100.9, 101.8, 102.7, 103.6])
    assert not is_steady([100.0, 101.2, 102.4, 103.6, 104.8])
    assert not is_steady([104.8, 103.6, 102.4, 101.2, 100.0])
    assert not is_steady([100.0] * 4)


def test_targets_take_turns_in_blocks_and_every_second_round_is_turned_round():
    machine = Machine()
    targets = [machine.target("predictor", lambda _n: 3 * MS), machine.target("engine", lambda _n: MS)]
    first, _ = timed = time_targets(targets, PLAN, clock=machine.clock)
    assert [each.name for each in timed] == ["predictor", "engine"]
    measured = machine.calls[len(first.warmup_ns) + len(timed[1].warmup_ns) :]
    runs = [(name, len(list(calls))) for name, calls in groupby(measured)]
    # A B, B A, A B, …: in the middle the same target runs two blocks in a row.
    assert runs[:4] == [("predictor", 34), ("engine", 200), ("predictor", 68), ("engine", 200)]


def test_drift_of_the_machine_hits_both_series_alike():
    machine = Machine()

    def slowing(_number: int) -> float:
        return MS * (1 + machine.now_ns / (10_000 * MS))

    targets = [machine.target("predictor", slowing), machine.target("engine", slowing)]
    one, other = time_targets(targets, PLAN, clock=machine.clock)
    assert max(one.samples_ns) > 1.5 * min(one.samples_ns)
    assert median(one.samples_ns) == pytest.approx(median(other.samples_ns), rel=0.01)


def test_all_of_it_takes_the_time_it_was_given():
    machine = Machine()
    targets = [machine.target("predictor", lambda _n: 3 * MS), machine.target("engine", lambda _n: MS)]
    time_targets(targets, PLAN, clock=machine.clock)
    assert 0.97 * PLAN.total_ns <= machine.now_ns <= 1.03 * PLAN.total_ns


def test_calls_longer_than_a_block_do_not_stretch_the_whole():
    machine = Machine()
    targets = [machine.target("predictor", lambda _n: 500 * MS), machine.target("engine", lambda _n: 400 * MS)]
    time_targets(targets, PLAN, clock=machine.clock)
    assert PLAN.total_ns <= machine.now_ns <= PLAN.total_ns + 900 * MS


def test_a_target_slower_than_the_whole_time_is_still_measured_once():
    machine = Machine()
    targets = [machine.target("predictor", lambda _n: 60_000 * MS), machine.target("engine", lambda _n: 50_000 * MS)]
    timed = time_targets(targets, PLAN, clock=machine.clock)
    assert [len(each.warmup_ns) for each in timed] == [1, 1]
    assert [len(each.samples_ns) for each in timed] == [1, 1]
    assert not any(each.steady for each in timed)


def test_samples_of_a_fast_target_are_limited_evenly():
    machine = Machine()
    targets = [machine.target("predictor", lambda _n: MS), machine.target("engine", lambda _n: 2000)]
    plan = Plan(total_ns=10_000 * MS, warmup_ns=1000 * MS, most_samples=5000)
    slow, fast = time_targets(targets, plan, clock=machine.clock)
    assert 4000 < len(fast.samples_ns) <= 5000
    assert len(slow.samples_ns) > 3000
    runs = [len(list(calls)) for name, calls in groupby(machine.calls[-2000:]) if name == "engine"]
    assert max(runs) <= 5000 // 30 * 2


def test_what_a_measured_call_returned_is_kept_outside_the_clock():
    machine = Machine()
    kept: list[object] = []

    def keep(answer: object) -> None:
        machine.now_ns += 7 * MS
        kept.append(answer)

    (timed,) = time_targets([machine.target("engine", lambda n: MS + n, keep)], PLAN, clock=machine.clock)
    assert kept == list(timed.samples_ns)


def test_progress_is_told_outside_the_clock_and_only_grows():
    machine = Machine()
    told: list[tuple[str, float]] = []

    def progress(phase: str, share: float) -> None:
        machine.now_ns += 5 * MS
        told.append((phase, share))

    (timed,) = time_targets([machine.target("engine", lambda _n: MS)], PLAN, clock=machine.clock, progress=progress)
    assert set(timed.samples_ns) == {MS}
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert told[-1] == ("done", 1.0)
    assert {phase for phase, _ in told} == {"warming up", "measuring", "done"}


def test_the_garbage_collector_rests_while_the_clock_runs():
    machine = Machine()
    running: list[bool] = []

    def latency(_number: int) -> float:
        running.append(gc.isenabled())
        return MS

    between: list[bool] = []
    time_targets(
        [machine.target("engine", latency)],
        PLAN,
        clock=machine.clock,
        progress=lambda _phase, _share: between.append(gc.isenabled()),
    )
    assert running
    assert not any(running)
    assert all(between)
    assert gc.isenabled()


def _interrupted() -> None:
    with garbage_collector_resting():
        raise KeyboardInterrupt


def test_the_garbage_collector_runs_again_after_an_interruption():
    with pytest.raises(KeyboardInterrupt):
        _interrupted()
    assert gc.isenabled()


def test_a_garbage_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with garbage_collector_resting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
