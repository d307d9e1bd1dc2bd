"""Bounds over clusters: at least as wide as those over rows, and true as often as they say where losses are rare."""

from __future__ import annotations

import numpy as np
import pytest

from mstedge.bootstrap import bca_bounds
from mstedge.clustered_accuracy import clustered_accuracy_bounds
from mstedge.noninferiority import tango_bounds
from mstedge.paired_metrics import accuracy_difference


def _table(clusters: int, lost: float, gained: float, spread: float, seed: int) -> tuple[np.ndarray, int, int]:
    """Twenty rows per cluster; the larger the spread, the more do losses share clusters."""
    generator = np.random.default_rng(seed)
    losses = generator.binomial(20, np.minimum(0.5, lost * generator.gamma(1 / spread, spread, size=clusters)))
    gains = generator.binomial(
        20 - losses, np.minimum(0.5, gained * generator.gamma(1 / spread, spread, size=clusters))
    )
    counts = np.stack([np.full(clusters, 20), 20 - gains, 20 - losses], axis=1).astype(np.float64)
    return counts, int(losses.sum()), int(gains.sum())


def test_clusters_without_a_difference_are_bounded_as_their_rows():
    counts = np.tile([20.0, 18.0, 18.0], (30, 1))
    assert clustered_accuracy_bounds(counts, 0, 0) == tango_bounds(0, 0, 600)
    assert bca_bounds(counts, accuracy_difference) == (0, 0)


def test_losses_that_share_clusters_widen_the_bounds():
    counts = np.tile([20.0, 18.0, 18.0], (30, 1))
    counts[:3, 2] = 0
    bounds, rows = clustered_accuracy_bounds(counts, 54, 0), tango_bounds(54, 0, 600)
    assert bounds.low < rows.low - 0.05
    assert bounds.high > rows.high


@pytest.mark.parametrize("clusters", [0, 19])
def test_fewer_than_twenty_clusters_bound_nothing(clusters: int):
    assert clustered_accuracy_bounds(np.tile([20.0, 18.0, 18.0], (clusters, 1)), 0, 0) is None


@pytest.mark.parametrize(
    ("clusters", "lost", "gained", "spread"),
    [
        pytest.param(20, 0.005, 0.002, 3, id="few clusters, rare losses"),
        pytest.param(60, 0.03, 0.02, 1, id="losses that share clusters"),
    ],
)
def test_the_lower_bound_holds_the_truth_as_often_as_it_says(clusters: int, lost: float, gained: float, spread: float):
    held = bootstrap_held = 0
    runs = 400
    for seed in range(runs):
        counts, losses, gains = _table(clusters, lost, gained, spread, seed)
        bounds = clustered_accuracy_bounds(counts, losses, gains, resamples=500, seed=seed)
        held += bounds.low <= gained - lost
        bootstrap_held += bca_bounds(counts, accuracy_difference, resamples=500, seed=seed).low <= gained - lost
    assert held / runs >= 0.92
    if clusters == 20:
        # Why the bootstrap is not trusted alone: where nothing was lost by luck, it rules every loss out.
        assert bootstrap_held / runs < 0.88
