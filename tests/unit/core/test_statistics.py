"""Intervals against scipy, and against what they promise: how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mstedge.statistics import mean_interval, quantile_rank, quantile_ranks, wilson_interval


@given(st.integers(1, 2000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_interval_is_scipys(case: tuple[int, int]):
    successes, trials = case
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    found = wilson_interval(successes, trials)
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_interval_of_clusters_takes_fractions():
    low, high = wilson_interval(17.25, 20)
    assert wilson_interval(17, 20).low < low < 17.25 / 20 < high < wilson_interval(18, 20).high


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 4), (math.nan, 4)])
def test_wilson_interval_refuses_what_cannot_have_happened(successes: float, trials: float):
    with pytest.raises(ValueError, match=f"{successes} successes in {trials} trials"):
        wilson_interval(successes, trials)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_mean_interval_is_scipys(values: list[float]):
    interval = mean_interval(values)
    assert interval is not None
    low, high = interval
    mean, spread = np.mean(values), stats.sem(values)
    scale = max(abs(mean), spread, 1e-12)
    reach = stats.t.ppf(0.975, len(values) - 1) * spread
    assert low == pytest.approx(mean - reach, abs=1e-8 * scale)
    assert high == pytest.approx(mean + reach, abs=1e-8 * scale)


def test_mean_interval_of_two_values_has_the_widest_t():
    # One degree of freedom: 12.706 standard errors.
    assert mean_interval([0.0, 2.0]).high == pytest.approx(1 + 12.7062047, rel=1e-7)


@pytest.mark.parametrize("values", [[], [0.9]])
def test_one_value_bounds_nothing(values: list[float]):
    assert mean_interval(values) is None


def test_mean_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(3.0, 2.0, size=(1000, 5))
    held = sum(low <= 3.0 <= high for low, high in map(mean_interval, draws.tolist()))
    assert 930 <= held <= 970


@given(st.integers(0, 3000), st.sampled_from([0.01, 0.05, 0.5, 0.9, 0.95, 0.99, 0.999]), st.sampled_from([0.9, 0.95]))
def test_quantile_ranks_are_the_exact_binomial_ones(count: int, share: float, confidence: float):
    tail = (1 - confidence) / 2
    low = int(stats.binom.ppf(tail, count, share)) - 1
    high = int(stats.binom.ppf(1 - tail, count, share))
    expected = (low, high) if low >= 0 and high < count else None
    assert quantile_ranks(count, share, confidence) == expected


@pytest.mark.parametrize("share", [1e-4, 0.5, 0.99, 0.9999])
def test_quantile_ranks_of_a_million_are_exact_and_sum_few_terms(share: float, monkeypatch: pytest.MonkeyPatch):
    calls = 0
    lgamma = math.lgamma

    def counted(value: float) -> float:
        nonlocal calls
        calls += 1
        return lgamma(value)

    monkeypatch.setattr(math, "lgamma", counted)
    found = quantile_ranks(1_000_000, share)
    assert found == (stats.binom.ppf(0.025, 1e6, share) - 1, stats.binom.ppf(0.975, 1e6, share))
    assert calls < 30_000


def test_five_samples_do_not_bound_a_median_and_six_do():
    assert quantile_ranks(5, 0.5) is None
    assert quantile_ranks(6, 0.5) == (0, 5)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_interval_between_the_ranks_holds_the_quantile_as_often_as_it_says(share: float):
    count, repeats = 600, 2000
    draws = np.sort(np.random.default_rng(7).exponential(size=(repeats, count)), axis=1)
    ranks = quantile_ranks(count, share)
    assert ranks is not None
    truth = -math.log(1 - share)
    held = np.mean((draws[:, ranks[0]] <= truth) & (truth <= draws[:, ranks[1]]))
    # Exact coverage is at least 95 % and, with this many samples, at most 98 %; three standard errors around.
    assert 0.935 <= held <= 0.99


@pytest.mark.parametrize(
    ("count", "share", "confidence"), [(-1, 0.5, 0.95), (9, 0.0, 0.95), (9, 1.0, 0.95), (9, 0.5, 1)]
)
def test_quantile_ranks_refuse_what_is_no_quantile(count: int, share: float, confidence: float):
    with pytest.raises(ValueError, match=f"quantile {share} of {count} samples"):
        quantile_ranks(count, share, confidence)


@given(st.integers(1, 500), st.integers(1, 99))
def test_quantile_rank_is_the_smallest_that_enough_samples_do_not_exceed(count: int, percent: int):
    rank = quantile_rank(count, percent / 100)
    assert (rank + 1) * 100 >= percent * count
    assert rank * 100 < percent * count


@given(st.integers(1, 5000), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_estimate_lies_in_its_interval(count: int, share: float):
    ranks = quantile_ranks(count, share)
    if ranks is not None:
        assert ranks[0] <= quantile_rank(count, share) <= ranks[1]


def test_a_quantile_is_the_decimal_that_was_written():
    # In binary 0.07 * 100 is a little above 7, which would give the eighth sample.
    assert quantile_rank(100, 0.07) == 6


def test_no_samples_have_no_quantile():
    with pytest.raises(ValueError, match=r"quantile 0\.5 of 0 samples"):
        quantile_rank(0, 0.5)
