"""What paired right and wrong answers say about a loss of accuracy. Pure functions, standard library only.

Of the rows that both models answered, those that exactly one of them got right carry the information: `lost` rows, that
only the reference answers correctly, and `gained` rows, that only the candidate does.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from mstedge.statistics import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

_POWER = 0.80
_TOLERANCE = 1e-12


def tango_bounds(lost: int, gained: int, rows: int, *, confidence: float = 0.95) -> Interval:
    """Bound the difference of two paired proportions from each side (Tango 1998, score interval).

    Each bound holds on its own at `confidence`, so both together enclose at 2 * confidence - 1. The rows must be
    independent. Unlike Wald's, the bounds stay honest where few rows differ, and where none do.

    Args:
        lost: Rows that only the reference answers correctly.
        gained: Rows that only the candidate answers correctly.
        rows: All rows.
        confidence: Of each bound, between 0.5 and 1.

    Returns:
        Bounds of (gained - lost) / rows, as shares.

    Raises:
        ValueError: There were no rows or fewer than differ, or the confidence is out of range.
    """
    if lost < 0 or gained < 0 or rows < max(1, lost + gained):
        raise ValueError(f"{lost} lost and {gained} gained of {rows} rows")
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence {confidence}: expected between 0.5 and 1")
    reach = NormalDist().inv_cdf(confidence)
    return Interval(_lower_bound(lost, gained, rows, reach), -_lower_bound(gained, lost, rows, reach))


def needed_rows(discordant_share: float, margin: float, *, rows: int) -> int:
    """Estimate how many rows show, in four cases of five, that a candidate without a loss is within the margin.

    Normal approximation at 95 % one-sided confidence and 80 % power.

    Args:
        discordant_share: Share of rows that exactly one model answers correctly.
        margin: How much may be lost, as a share.
        rows: Rows that the share was seen on; so few cannot show a share below 3 / rows (the rule of three).

    Raises:
        ValueError: The margin is not positive, or there were no rows.
    """
    if margin <= 0 or rows < 1:
        raise ValueError(f"margin {margin} and {rows} rows: expected both above zero")
    normal = NormalDist()
    reach = normal.inv_cdf(0.95) + normal.inv_cdf(_POWER)
    return math.ceil(reach**2 * max(discordant_share, 3 / rows) / margin**2)


def rows_without_discordance(margin: float, confidence: float = 0.95) -> int:
    """Count the rows that must all agree to show that fewer than `margin` of all rows differ (exact).

    Args:
        margin: A share, strictly between 0 and 1.
        confidence: Strictly between 0 and 1.

    Raises:
        ValueError: One of them is not between 0 and 1.
    """
    if not 0 < margin < 1 or not 0 < confidence < 1:
        raise ValueError(f"margin {margin} at confidence {confidence}: expected both between 0 and 1")
    return math.ceil(math.log(1 - confidence) / math.log1p(-margin))


def largest_unseen_share(units: int, confidence: float = 0.95) -> float:
    """Bound the share of units of a kind that did not occur among so many independent ones (exact).

    The inverse of `rows_without_discordance`. A bootstrap only repeats what it saw, so it calls impossible what so many
    units can have missed altogether.

    Args:
        units: Independent units, at least one.
        confidence: Strictly between 0 and 1.

    Raises:
        ValueError: There are no units, or the confidence is not between 0 and 1.
    """
    if units < 1 or not 0 < confidence < 1:
        raise ValueError(f"{units} units at confidence {confidence}: expected at least one, and between 0 and 1")
    return -math.expm1(math.log(1 - confidence) / units)


def mcnemar_exact(lost: int, gained: int) -> float:
    """Test whether losses and gains are equally likely (McNemar 1947, exact binomial form).

    Args:
        lost: Rows that only the reference answers correctly.
        gained: Rows that only the candidate answers correctly.

    Returns:
        Two-sided p-value. A large one is no evidence of equality.

    Raises:
        ValueError: A count is negative.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"{lost} lost and {gained} gained: expected counts")
    discordant = lost + gained
    ways = total = 1
    for fewer in range(min(lost, gained)):
        ways = ways * (discordant - fewer) // (fewer + 1)
        total += ways
    # Whole numbers of any size: nothing is rounded before the division.
    return min(1.0, 2 * total / (1 << discordant))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjust p-values for their number (Holm 1979, step-down).

    Returns:
        Adjusted values in the order given: at level a, rejecting all below a errs anywhere with probability a at most.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def _lower_bound(lost: int, gained: int, rows: int, reach: float) -> float:
    """Largest difference below the estimate that the score test still rejects, from below."""
    low, high = -1.0, (gained - lost) / rows
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if _rejects(middle, lost, gained, rows, reach) else (low, middle)
    return low


def _rejects(difference: float, lost: int, gained: int, rows: int, reach: float) -> bool:
    """Whether the score statistic of a hypothetical difference is at least `reach`; without its division by zero."""
    excess = gained - lost - rows * difference
    lost_share = _likeliest_lost_share(difference, lost, gained, rows)
    variance = rows * (2 * lost_share + difference * (1 - difference))
    return excess >= reach * math.sqrt(max(0.0, variance))


def _likeliest_lost_share(difference: float, lost: int, gained: int, rows: int) -> float:
    """Maximum likelihood of P(lost) where P(gained) - P(lost) is given: the larger root of a quadratic."""
    linear = (2 * rows + lost - gained) * difference - lost - gained
    constant = -lost * difference * (1 - difference)
    root = math.sqrt(max(0.0, linear**2 - 8 * rows * constant))
    if linear <= 0:
        return (root - linear) / (4 * rows)
    # The same root without subtracting two numbers that are nearly equal.
    return -2 * constant / (root + linear)
