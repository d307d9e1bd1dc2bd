"""Intervals: what a handful of numbers can and cannot say. Pure functions, numpy and the standard library only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMAL_975 = 1.959963984540054


class Interval(NamedTuple):
    """A two-sided interval."""

    low: float
    high: float


def wilson_interval(successes: float, trials: float) -> Interval:
    """Bound a proportion at 95 % confidence (Wilson 1927, score interval).

    Args:
        successes: How often it happened; a fraction where trials are clusters.
        trials: How often it could have.

    Raises:
        ValueError: There were no trials, or more successes than trials.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    share = successes / trials
    spread = _NORMAL_975**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    reach = _NORMAL_975 / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))


def mean_interval(values: Sequence[float]) -> Interval:
    """Bound the mean of independent, roughly normal values at 95 % confidence (Student 1908).

    Args:
        values: One per seed; for a paired comparison the differences. A single value bounds nothing.
    """
    if len(values) < 2:
        return Interval(-math.inf, math.inf)
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    reach = _student_975(len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(mean - reach, mean + reach)


def quantile_ranks(count: int, share: float, confidence: float = 0.95) -> tuple[int, int] | None:
    """Find the order statistics that enclose a quantile, exactly and without a distribution (David & Nagaraja 2003, 7.1).

    Args:
        count: Number of independent samples.
        share: The quantile, between 0 and 1.
        confidence: Least coverage.

    Returns:
        Two indices into the sorted samples, or none where so few samples cannot bound it from both sides.
    """
    tail = (1 - confidence) / 2
    low = _binomial_quantile(count, share, tail) - 1
    high = _binomial_quantile(count, share, 1 - tail)
    return (low, high) if low >= 0 and high < count else None


def _binomial_quantile(count: int, share: float, level: float) -> int:
    """Smallest k with P(Binomial(count, share) <= k) >= level."""
    log_share, log_rest = math.log(share), math.log1p(-share)
    total = 0.0
    for successes in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
        total += math.exp(ways + successes * log_share + (count - successes) * log_rest)
        if total >= level:
            return successes
    return count


def _student_975(freedom: int) -> float:
    """0.975 quantile of Student's t, by bisection on its distribution function."""
    low, high = 0.0, 1000.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, freedom) < 0.975 else (low, middle)
    return (low + high) / 2


def _student_cdf(value: float, freedom: int) -> float:
    """P(T <= value) for whole degrees of freedom and value >= 0 (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(value, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    series = 0.0 if freedom == 1 else term
    for order in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (order - 1) / order
        series += term
    inside = 2 / math.pi * (angle + sine * series) if odd else sine * series
    return (1 + inside) / 2
