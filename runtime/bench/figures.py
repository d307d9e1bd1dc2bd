"""From raw nanoseconds to figures, and to the words that say how far they can be trusted. Pure functions."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from mstedge.bench_result import Quantile, Series
from mstedge.statistics import quantile_rank, quantile_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.bench_result import Environment
    from mstedge.runtime.bench.timing import Timed

SAMPLES_FOR_P99 = 1000
_DRIFT = 0.05


def series_from_timed(timed: Timed) -> Series:
    """Draw the figures of one series.

    Args:
        timed: At least one measured sample.
    """
    mean_ns = math.fsum(timed.samples_ns) / len(timed.samples_ns)
    return Series(
        name=timed.name,
        samples_ns=tuple(timed.samples_ns),
        warmup_ns=tuple(timed.warmup_ns),
        quantiles=quantiles_from_samples(timed.samples_ns),
        mean_ns=mean_ns,
        throughput_hz=1e9 / mean_ns if mean_ns > 0 else math.inf,
    )


def quantiles_from_samples(samples_ns: Sequence[int]) -> tuple[Quantile, ...]:
    """Estimate p50, p90 and, from 1,000 samples on, p99.

    The estimate is the smallest sample that at least this share of all samples do not exceed; its interval lies between
    two samples that enclose the quantile with at least 95 % confidence, whatever the distribution (exact binomial
    ranks). The interval takes samples as independent; latencies of one process are so only roughly.

    Args:
        samples_ns: In any order; all of them.
    """
    ordered = sorted(samples_ns)
    shares = (0.5, 0.9, 0.99) if len(ordered) >= SAMPLES_FOR_P99 else (0.5, 0.9)
    return tuple(_quantile(ordered, share) for share in shares)


def notes_on_series(series: Series, *, steady: bool) -> list[str]:
    """Say what limits the trust in one series.

    Args:
        series: Its figures.
        steady: Whether its warm-up ended because latency was steady.
    """
    notes = []
    count = len(series.samples_ns)
    if count < SAMPLES_FOR_P99:
        seconds = SAMPLES_FOR_P99 / series.throughput_hz
        notes.append(
            f"{series.name}: {count} samples, p99 needs {SAMPLES_FOR_P99}: {seconds:.0f} s of measuring this alone"
        )
    if not steady:
        notes.append(f"{series.name}: the warm-up ended by time, before latency was steady")
    if (change := _change_between_halves(series.samples_ns)) is not None and abs(change) > _DRIFT:
        notes.append(f"{series.name}: latency drifted, the median of the second half is {change:+.0%} off the first's")
    return notes


def notes_on_machine(environment: Environment, load_before: float) -> list[str]:
    """Say what on this machine limits the trust in latencies.

    Args:
        environment: The machine.
        load_before: Average number of runnable tasks in the minute before the benchmark.
    """
    notes = []
    if environment.governor is None:
        notes.append("CPU frequency governor is not told here: changes of clock would go unseen")
    elif environment.governor != "performance":
        notes.append(f"CPU frequency governor is {environment.governor!r}, not 'performance': clocks may change")
    if load_before > environment.cores:
        notes.append(f"other load: {load_before:.1f} runnable tasks on {environment.cores} cores before the start")
    return notes


def _quantile(ordered: Sequence[int], share: float) -> Quantile:
    ranks = quantile_ranks(len(ordered), share)
    return Quantile(
        share=share,
        value_ns=ordered[quantile_rank(len(ordered), share)],
        low_ns=ordered[ranks[0]] if ranks else None,
        high_ns=ordered[ranks[1]] if ranks else None,
    )


def _change_between_halves(samples_ns: Sequence[int]) -> float | None:
    """Relative change of the median from the first half to the second; none for under 20 samples."""
    half = len(samples_ns) // 2
    if half < 10:
        return None
    before, after = median(samples_ns[:half]), median(samples_ns[half:])
    return after / before - 1 if before > 0 else None
