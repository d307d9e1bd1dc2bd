"""Figures from latencies whose true percentiles are known, and the notes that say what they are worth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_machine import board

from mstedge.bench_result import Series
from mstedge.runtime.bench.figures import (
    notes_on_machine,
    notes_on_series,
    quantiles_from_samples,
    series_from_timed,
)
from mstedge.runtime.bench.timing import Timed

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1_000_000
MACHINE = board(governor="performance")


def _heavy_tail(uniform: np.ndarray) -> np.ndarray:
    """Pareto with shape 1.5: its variance is infinite."""
    return MS * (1 - uniform) ** (-1 / 1.5)


def _bimodal(uniform: np.ndarray) -> np.ndarray:
    """Seven calls in ten around 1 ms, three around 5 ms."""
    return np.where(uniform < 0.7, MS * (0.9 + 0.2 * uniform / 0.7), MS * (4.5 + (uniform - 0.7) / 0.3))


@pytest.mark.parametrize("distribution", [_heavy_tail, _bimodal])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_intervals_hold_the_true_percentile_as_often_as_they_say(
    distribution: Callable[[np.ndarray], np.ndarray], position: int
):
    share = (0.5, 0.9, 0.99)[position]
    truth = float(distribution(np.array(share)))
    rounds = distribution(np.random.default_rng(position).random((400, 1200))).astype(np.int64)
    found = [quantiles_from_samples(samples.tolist())[position] for samples in rounds]
    held = sum(each.low_ns <= truth <= each.high_ns for each in found if each.low_ns and each.high_ns)
    # At least 95 % of 400, less three standard errors; not so wide that it always holds.
    assert 367 <= held < 400


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=1500))
def test_the_estimate_is_a_measured_sample_by_the_stated_definition(samples: list[int]):
    for quantile in quantiles_from_samples(samples):
        assert quantile.value_ns == int(np.quantile(samples, quantile.share, method="inverted_cdf"))
        assert quantile.value_ns in samples


def test_p99_is_told_from_a_thousand_samples_on():
    assert [each.share for each in quantiles_from_samples(range(999))] == [0.5, 0.9]
    assert [each.share for each in quantiles_from_samples(range(1000))] == [0.5, 0.9, 0.99]


def test_a_handful_of_samples_has_no_interval():
    median, p90 = quantiles_from_samples([4, 5, 3, 1, 2])
    assert (median.value_ns, median.low_ns, median.high_ns) == (3, None, None)
    assert (p90.value_ns, p90.low_ns, p90.high_ns) == (5, None, None)


def test_outliers_stay_in_all_figures():
    series = _series([MS] * 99 + [1000 * MS])
    assert series.mean_ns == (99 * MS + 1000 * MS) / 100
    assert series.throughput_hz == pytest.approx(1e9 / series.mean_ns)
    assert series.samples_ns[-1] == 1000 * MS


def test_a_series_keeps_its_raw_samples_in_order():
    series = series_from_timed(Timed("engine", warmup_ns=[9, 8], samples_ns=[3, 1, 2], steady=True))
    assert (series.name, series.warmup_ns, series.samples_ns) == ("engine", (9, 8), (3, 1, 2))


def test_a_clock_too_coarse_to_see_anything_gives_no_division_by_zero():
    assert _series([0, 0, 0]).throughput_hz == math.inf


def test_too_few_samples_for_p99_are_noted_with_the_time_it_would_take():
    (note,) = notes_on_series(_series([20 * MS] * 400), steady=True)
    assert note == "engine: 400 samples, p99 needs 1000: 20 s of measuring this alone"
    assert notes_on_series(_series([20 * MS] * 1000), steady=True) == []


def test_a_warm_up_cut_short_is_noted():
    (note,) = notes_on_series(_series([MS] * 1000), steady=False)
    assert note == "engine: the warm-up ended by time, before latency was steady"


def test_drift_is_noted():
    (note,) = notes_on_series(_series([MS] * 600 + [MS * 11 // 10] * 600), steady=True)
    assert note == "engine: latency drifted, the median of the second half is +10% off the first's"
    assert notes_on_series(_series([MS] * 600 + [MS * 103 // 100] * 600), steady=True) == []


def test_a_quiet_machine_at_full_clock_needs_no_note():
    assert notes_on_machine(MACHINE, load_before=0.4) == []


@pytest.mark.parametrize(
    ("governor", "words"), [("schedutil", "'schedutil', not 'performance'"), (None, "not told here")]
)
def test_a_governor_that_may_change_clocks_is_noted(governor: str | None, words: str):
    (note,) = notes_on_machine(msgspec.structs.replace(MACHINE, governor=governor), load_before=0.0)
    assert words in note


def test_other_load_is_noted():
    (note,) = notes_on_machine(MACHINE, load_before=6.5)
    assert note == "other load: 6.5 runnable tasks on 6 cores before the start"


def _series(samples: list[int]) -> Series:
    return series_from_timed(Timed("engine", warmup_ns=[1], samples_ns=samples, steady=True))
