"""The lowest threshold that keeps labels from being given where they should not be, and how many rows can show it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mstedge.statistics import wilson_interval
from mstedge.tuning import AlarmRate

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Thresholds are whole numbers of these: engines differ by less, and people can read them.
THRESHOLD_STEPS = 1_000_000


def alarm_rate(alarms: int, rows: int, clusters: int) -> AlarmRate:
    """Bound a rate of false alarms.

    Args:
        alarms: Rows with one.
        rows: Rows that could have had one; at least one.
        clusters: Independent units among these: the sample size of the interval.
    """
    low, high = wilson_interval(alarms / rows * clusters, clusters)
    return AlarmRate(alarms=alarms, rows=rows, clusters=clusters, rate=alarms / rows, low=low, high=high)


def clusters_needed(rate: float) -> int:
    """Say how many independent units without a single false alarm show that their rate is at most this.

    Args:
        rate: Strictly between 0 and 1.
    """
    high = 1
    while wilson_interval(0, high).high > rate:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wilson_interval(0, middle).high > rate else (low, middle)
    return high


def lowest_threshold(alarming: NDArray[np.float64], rows: int, clusters: int, rate: float) -> float | None:
    """Find the lowest threshold at which the upper 95 % bound of the false-alarm rate is at most a given one.

    Args:
        alarming: Probability of the answer of each row that would be a false alarm without a threshold.
        rows: Rows that could be one.
        clusters: Independent units among these.
        rate: Strictly between 0 and 1.

    Returns:
        A multiple of a millionth, 0 where all may stay; none where no threshold up to 1 does it.
    """
    allowed = _alarms_allowed(rows, clusters, rate)
    if allowed is None:
        return None
    if len(alarming) <= allowed:
        return 0.0
    too_many = float(np.sort(alarming)[::-1][allowed])
    step = math.floor(too_many * THRESHOLD_STEPS)
    while step / THRESHOLD_STEPS <= too_many:
        step += 1
    return step / THRESHOLD_STEPS if step <= THRESHOLD_STEPS else None


def _alarms_allowed(rows: int, clusters: int, rate: float) -> int | None:
    """Find the largest number of alarms whose upper bound is at most the rate; none where not even zero are."""
    if alarm_rate(0, rows, clusters).high > rate:
        return None
    low, high = 0, rows + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if alarm_rate(middle, rows, clusters).high <= rate else (low, middle)
    return low
