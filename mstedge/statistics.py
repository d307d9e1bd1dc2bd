"""Intervals: what a handful of numbers can and cannot say. Pure functions, numpy and the standard library only."""

from __future__ import annotations

import math
from fractions import Fraction
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


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Bound the mean of independent, roughly normal values at 95 % confidence (Student 1908).

    Args:
        values: One per seed; for a paired comparison the differences.

    Returns:
        The interval, or none for a single value, which bounds nothing.
    """
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    reach = _student_975(len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(mean - reach, mean + reach)


def quantile_ranks(count: int, share: float, confidence: float = 0.95) -> tuple[int, int] | None:
    """Find the order statistics that enclose a quantile.

    Exact, and the same for every distribution (David & Nagaraja 2003, section 7.1).

    Args:
        count: Number of independent samples.
        share: The quantile, strictly between 0 and 1.
        confidence: Least coverage, strictly between 0 and 1.

    Returns:
        Two indices into the sorted samples, or none where so few samples cannot bound it from both sides.

    Raises:
        ValueError: The count is negative, or the quantile or the confidence is not between 0 and 1.
    """
    if count < 0 or not 0 < share < 1 or not 0 < confidence < 1:
        raise ValueError(f"quantile {share} of {count} samples at confidence {confidence}")
    tail = (1 - confidence) / 2
    low = _binomial_quantile(count, share, tail) - 1
    high = _binomial_quantile(count, share, 1 - tail)
    return (low, high) if low >= 0 and high < count else None


def quantile_rank(count: int, share: float) -> int:
    """Find the sample that estimates a quantile: the smallest that at least `share` of all do not exceed.

    This is the inverse of the empirical distribution function (type 1 of Hyndman & Fan 1996): always a value that was
    measured, never one between two.

    Args:
        count: Number of samples.
        share: The quantile, strictly between 0 and 1.

    Returns:
        An index into the sorted samples.

    Raises:
        ValueError: There are no samples, or the quantile is not between 0 and 1.
    """
    if count < 1 or not 0 < share < 1:
        raise ValueError(f"quantile {share} of {count} samples")
    # As written (0.07 * 100 is above 7 in binary): the decimal number is what the caller meant.
    return math.ceil(Fraction(str(share)) * count) - 1


def _binomial_quantile(count: int, share: float, level: float) -> int:
    """Smallest k with P(Binomial(count, share) <= k) >= level."""
    log_share, log_rest = math.log(share), math.log1p(-share)
    log_ways_of_all = math.lgamma(count + 1)
    total = 0.0
    for successes in range(_first_that_matters(count, share), count + 1):
        log_ways = log_ways_of_all - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
        total += math.exp(log_ways + successes * log_share + (count - successes) * log_rest)
        if total >= level:
            return successes
    return count


def _first_that_matters(count: int, share: float) -> int:
    """Largest start below which a binomial variable falls with probability under e^-40 (Bernstein's inequality).

    That is less than the rounding of the sum, and the sum then takes of the order of sqrt(count) terms.
    """
    exponent = 40.0
    variance = count * share * (1 - share)
    reach = exponent / 3 + math.sqrt((exponent / 3) ** 2 + 2 * exponent * variance)
    return max(0, math.floor(count * share - reach))


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
