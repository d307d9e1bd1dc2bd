"""Cluster BCa bounds against scipy's, and against what they promise: how often they hold the truth."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from mstedge import bootstrap
from mstedge.bootstrap import bca_bounds
from mstedge.paired_metrics import accuracy_difference


def _ratio(counts: np.ndarray) -> np.ndarray:
    return counts[..., 1] / counts[..., 0]


def _clusters(count: int, seed: int, *, lost: float = 0.02, gained: float = 0.01) -> np.ndarray:
    """Recordings of unequal length, some far worse than others: rows, reference right, candidate right."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(5, 36, size=count)
    losses = generator.binomial(rows, np.minimum(0.5, lost * generator.exponential(size=count)))
    gains = generator.binomial(rows - losses, np.minimum(0.5, gained * generator.exponential(size=count)))
    return np.stack([rows, rows - gains, rows - losses], axis=1).astype(np.float64)


@pytest.fixture(scope="module")
def skewed() -> np.ndarray:
    """A ratio of skewed numbers, where bias and acceleration matter."""
    generator = np.random.default_rng(5)
    below = generator.uniform(1, 3, size=40)
    return np.stack([below, below * generator.lognormal(0, 1, size=40)], axis=1)


def _scipys(counts: np.ndarray, method: str, resamples: int) -> object:
    return stats.bootstrap(
        (counts[:, 0], counts[:, 1]),
        lambda below, above, axis: above.sum(axis=axis) / below.sum(axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=0.9,
        n_resamples=resamples,
        method=method,
        rng=np.random.default_rng(1),
    )


def test_bounds_are_scipys_from_the_same_resamples(skewed: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    expected = _scipys(skewed, "BCa", 4000)
    monkeypatch.setattr(bootstrap, "_resampled", lambda *_: expected.bootstrap_distribution)
    found = bca_bounds(skewed, _ratio)
    assert found == pytest.approx(tuple(expected.confidence_interval), rel=1e-9)


def test_bounds_are_scipys_from_other_resamples(skewed: np.ndarray):
    expected = _scipys(skewed, "BCa", 20_000).confidence_interval
    low, high = bca_bounds(skewed, _ratio, resamples=20_000)
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.03 * width)
    assert high == pytest.approx(expected.high, abs=0.03 * width)
    # Without the correction the upper bound would lie elsewhere.
    assert abs(_scipys(skewed, "percentile", 20_000).confidence_interval.high - high) > 0.05 * width


def test_each_bound_holds_the_truth_as_often_as_it_says():
    truth, runs = -0.01, 500
    bounds = [bca_bounds(_clusters(100, seed), accuracy_difference, resamples=1000, seed=seed) for seed in range(runs)]
    low, high = np.array(bounds).T
    # Nominally 95 %; the bootstrap of a hundred clusters falls a little short, and 500 runs are good to 2 points.
    assert 0.92 <= np.mean(low <= truth) <= 0.98
    assert 0.92 <= np.mean(high >= truth) <= 0.98


def test_rows_of_a_cluster_are_not_taken_for_independent():
    counts = _clusters(60, 0)
    counts[:, 2] = counts[:, 1]
    counts[:6, 2] = 0
    low, _ = bca_bounds(counts, accuracy_difference)
    rows = np.repeat(counts / counts[:, :1], counts[:, 0].astype(int), axis=0)
    low_of_rows, _ = bca_bounds(rows, accuracy_difference)
    assert low < low_of_rows - 0.02


def test_models_that_never_differ_have_a_point_for_an_interval():
    counts = _clusters(50, 0)
    counts[:, 2] = counts[:, 1]
    assert bca_bounds(counts, accuracy_difference) == (0, 0)


def test_a_metric_that_every_resample_shares_is_the_interval():
    assert bca_bounds(np.tile([10.0, 9.0, 8.0], (25, 1)), accuracy_difference) == (-0.1, -0.1)


@pytest.mark.parametrize("clusters", [0, 19])
def test_fewer_than_twenty_clusters_bound_nothing(clusters: int):
    assert bca_bounds(_clusters(clusters, 0), accuracy_difference) is None


def test_twenty_clusters_are_enough():
    assert bca_bounds(_clusters(20, 0), accuracy_difference) is not None


def test_bounds_repeat_and_do_not_depend_on_the_order_of_clusters():
    counts = _clusters(80, 2)
    assert bca_bounds(counts, accuracy_difference) == bca_bounds(counts[::-1], accuracy_difference)
    assert bca_bounds(counts, accuracy_difference) != bca_bounds(counts, accuracy_difference, seed=1)


def test_more_confidence_means_wider_bounds():
    counts = _clusters(80, 2)
    wide = bca_bounds(counts, accuracy_difference, confidence=0.99)
    narrow = bca_bounds(counts, accuracy_difference, confidence=0.9)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_memory_is_bounded_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    counts = np.concatenate([_clusters(2000, 0), np.arange(2000.0)[:, None]], axis=1)

    def metric(summed: np.ndarray) -> np.ndarray:
        return accuracy_difference(summed[..., :3])

    at_once = bca_bounds(counts, metric, resamples=1000)
    monkeypatch.setattr(bootstrap, "_NUMBERS_AT_ONCE", 50_000)
    tracemalloc.start()
    in_blocks = bca_bounds(counts, metric, resamples=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert in_blocks == at_once
    # All weights together would take 16 MB, and as much again as floating-point numbers.
    assert peak < 3_000_000


def test_a_statistic_that_only_few_resamples_reach_keeps_finite_bounds():
    counts = np.ones((30, 2))
    counts[:, 1] = np.arange(30)

    def largest_below(summed: np.ndarray) -> np.ndarray:
        # Far from the middle of its resamples: the bias correction is at its limit.
        return np.where(summed[..., 1] == 435, 100.0, summed[..., 1] / summed[..., 0])

    low, high = bca_bounds(counts, largest_below, resamples=500)
    assert np.isfinite([low, high]).all()
    assert low <= high


def test_clusters_without_rows_are_refused_in_words():
    counts = np.zeros((25, 3))
    with pytest.raises(ValueError, match="not a finite number on some of the clusters"):
        bca_bounds(counts, accuracy_difference)


@pytest.mark.parametrize(("shape", "confidence"), [((25,), 0.95), ((25, 3), 1.0), ((25, 3), 0.5)])
def test_what_cannot_be_bounded_is_refused(shape: tuple[int, ...], confidence: float):
    with pytest.raises(ValueError, match=f"at confidence {confidence}"):
        bca_bounds(np.ones(shape), accuracy_difference, confidence=confidence)
