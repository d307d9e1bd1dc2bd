"""The lowest threshold that keeps a rate: lowest, kept, and never promised where rows are too few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstedge.runtime.false_alarms import THRESHOLD_STEPS, alarm_rate, clusters_needed, lowest_threshold
from mstedge.statistics import wilson_interval


@given(
    st.lists(st.one_of(st.sampled_from([0.5, 1.0, 0.123456]), st.floats(0.05, 1.0)), max_size=60),
    st.integers(0, 200),
    st.floats(0.01, 0.99),
)
def test_threshold_keeps_the_bound_and_the_step_below_does_not(
    probabilities: list[float], others: int, rate: float
) -> None:
    rows = len(probabilities) + others
    if rows == 0:
        return
    alarming = np.array(probabilities)

    def bound(threshold: float) -> float:
        return alarm_rate(int((alarming >= threshold).sum()), rows, rows).high

    found = lowest_threshold(alarming, rows, rows, rate)
    if found is None:
        assert bound(1.0) > rate
        return
    assert bound(found) <= rate
    assert 0.0 <= found <= 1.0
    assert found == 0.0 or bound(found - 1 / THRESHOLD_STEPS) > rate


def test_ties_leave_together() -> None:
    alarming = np.array([0.9] * 30 + [0.4] * 5)
    assert lowest_threshold(alarming, 400, 400, 0.05) == pytest.approx(0.900001)
    assert lowest_threshold(alarming[30:], 400, 400, 0.05) == 0.0


def test_no_threshold_where_the_network_is_sure() -> None:
    assert lowest_threshold(np.ones(30), 400, 400, 0.05) is None
    assert lowest_threshold(np.full(30, 0.9999999), 400, 400, 0.05) == 1.0


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 381), (0.05, 73), (0.5, 4), (0.9, 1)])
def test_clusters_that_are_needed(rate: float, needed: int) -> None:
    assert clusters_needed(rate) == needed
    assert wilson_interval(0, needed).high <= rate
    assert needed == 1 or wilson_interval(0, needed - 1).high > rate
    assert lowest_threshold(np.array([]), needed, needed, rate) == 0.0
    if needed > 1:
        assert lowest_threshold(np.array([]), 10 * needed, needed - 1, rate) is None, "rows of one cluster are one"


def test_rate_is_over_rows_and_its_interval_over_clusters() -> None:
    found = alarm_rate(10, 100, 20)
    assert (found.rate, found.alarms, found.rows, found.clusters) == (0.1, 10, 100, 20)
    assert (found.low, found.high) == wilson_interval(2, 20)
