"""Tango's bounds against published tables, against a likelihood maximised by scipy, and against what they promise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from mstedge.noninferiority import (
    holm,
    largest_unseen_share,
    mcnemar_exact,
    needed_rows,
    rows_without_discordance,
    tango_bounds,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NORMAL_95 = stats.norm.ppf(0.95)


@st.composite
def _tables(draw: st.DrawFn) -> tuple[int, int, int]:
    rows = draw(st.integers(1, 3000))
    lost = draw(st.integers(0, rows))
    return lost, draw(st.integers(0, rows - lost)), rows


@pytest.mark.parametrize(
    ("table", "confidence", "published"),
    [
        pytest.param((7, 1, 21), 0.975, (-0.517, -0.026), id="Bentur 2009, in Fagerland, Lydersen & Laake 2014"),
        pytest.param((16, 6, 161), 0.975, (-0.1240, -0.0054), id="Cavo 2012, by R's contingencytables"),
        pytest.param((25, 28, 618), 0.95, (-0.0148, 0.0247), id="by R's PropCIs"),
    ],
)
def test_tango_bounds_are_the_published_ones(
    table: tuple[int, int, int], confidence: float, published: tuple[float, float]
):
    printed = 5.1e-4 if table[2] == 21 else 5.1e-5
    assert tango_bounds(*table, confidence=confidence) == pytest.approx(published, abs=printed)


@pytest.mark.parametrize(("rows", "points"), [(100, -2.6), (300, -0.89), (1000, -0.27)])
def test_rows_that_all_agree_still_leave_room_for_a_loss(rows: int, points: float):
    low, high = tango_bounds(0, 0, rows)
    assert 100 * low == pytest.approx(points, abs=0.04 if rows == 100 else 0.005)
    # Solved by hand: without discordance the score equation is -d / (1 + d) = z^2 / n.
    assert low == pytest.approx(-(NORMAL_95**2) / (rows + NORMAL_95**2), abs=1e-10)
    assert high == -low


@pytest.mark.parametrize(
    ("lost", "gained", "rows"), [(3, 1, 40), (0, 4, 40), (9, 0, 60), (1, 1, 2), (12, 20, 800), (30, 10, 45)]
)
def test_tango_bounds_solve_the_score_equation_of_a_likelihood_that_scipy_maximised(lost: int, gained: int, rows: int):
    low, high = tango_bounds(lost, gained, rows)
    estimate = (gained - lost) / rows

    def statistic(difference: float) -> float:
        lost_share = _likeliest_lost_share_by_search(difference, lost, gained, rows)
        variance = 2 * lost_share + difference - difference**2
        return (estimate - difference) / math.sqrt(variance / rows)

    assert low == pytest.approx(
        optimize.brentq(lambda value: statistic(value) - NORMAL_95, -1 + 1e-9, estimate), abs=2e-6
    )
    assert high == pytest.approx(
        optimize.brentq(lambda value: statistic(value) + NORMAL_95, estimate, 1 - 1e-9), abs=2e-6
    )


def _likeliest_lost_share_by_search(difference: float, lost: int, gained: int, rows: int) -> float:
    counts = np.array([lost, gained, rows - lost - gained])

    def negative_log_likelihood(lost_share: float) -> float:
        shares = np.array([lost_share, lost_share + difference, 1 - difference - 2 * lost_share])
        seen = counts > 0
        return float(-(counts[seen] * np.log(np.maximum(shares[seen], 1e-300))).sum())

    found = optimize.minimize_scalar(
        negative_log_likelihood,
        bounds=(max(0.0, -difference), (1 - difference) / 2),
        method="bounded",
        options={"xatol": 1e-13},
    )
    return float(found.x)


@given(_tables(), st.sampled_from([0.8, 0.95, 0.99]))
def test_swapping_the_models_mirrors_the_bounds(table: tuple[int, int, int], confidence: float):
    lost, gained, rows = table
    low, high = tango_bounds(lost, gained, rows, confidence=confidence)
    assert tango_bounds(gained, lost, rows, confidence=confidence) == (-high, -low)


@given(_tables())
def test_the_bounds_enclose_the_estimate_and_stay_possible(table: tuple[int, int, int]):
    lost, gained, rows = table
    low, high = tango_bounds(lost, gained, rows)
    assert -1 <= low <= (gained - lost) / rows <= high <= 1


@given(_tables())
def test_a_loss_instead_of_an_agreement_lowers_both_bounds(table: tuple[int, int, int]):
    lost, gained, rows = table
    now, with_loss = tango_bounds(lost, gained, rows + 1), tango_bounds(lost + 1, gained, rows + 1)
    assert with_loss.low < now.low
    assert with_loss.high < now.high


@given(_tables())
def test_more_confidence_means_wider_bounds(table: tuple[int, int, int]):
    wide, narrow = tango_bounds(*table, confidence=0.99), tango_bounds(*table, confidence=0.9)
    assert wide.low <= narrow.low <= narrow.high <= wide.high


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_rows_that_are_all_lost_or_all_gained_have_bounds(rows: int):
    low, high = tango_bounds(rows, 0, rows)
    assert low == -1
    # Solved by hand: z^2 = n (1 + d) / (1 - d).
    assert high == pytest.approx((NORMAL_95**2 - rows) / (NORMAL_95**2 + rows), abs=1e-10)


@pytest.mark.parametrize(("lost", "gained", "rows"), [(0, 0, 0), (-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_tango_bounds_refuse_an_impossible_table(lost: int, gained: int, rows: int):
    with pytest.raises(ValueError, match=f"{lost} lost and {gained} gained of {rows} rows"):
        tango_bounds(lost, gained, rows)


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0, math.nan])
def test_tango_bounds_refuse_a_confidence_that_bounds_nothing(confidence: float):
    with pytest.raises(ValueError, match="confidence"):
        tango_bounds(1, 1, 10, confidence=confidence)


def _share_of_false_passes(
    rows: int, margin: float, discordance: float, lower_bound: Callable[[int, int, int], float]
) -> float:
    """Add up the probability of all tables that pass although the loss is exactly the margin: no simulation."""
    lost_share, gained_share = (discordance + margin) / 2, (discordance - margin) / 2
    most_lost = int(stats.binom.ppf(1 - 1e-9, rows, lost_share))
    total, least_gained = 0.0, 0
    for lost in range(most_lost + 1):
        # More losses never need fewer gains to pass.
        while least_gained <= rows - lost and lower_bound(lost, least_gained, rows) <= -margin:
            least_gained += 1
        enough = stats.binom.sf(least_gained - 1, rows - lost, gained_share / (1 - lost_share))
        total += stats.binom.pmf(lost, rows, lost_share) * enough
    return total


def _tango_low(lost: int, gained: int, rows: int) -> float:
    return tango_bounds(lost, gained, rows).low


def _wald_low(lost: int, gained: int, rows: int) -> float:
    difference = (gained - lost) / rows
    return difference - NORMAL_95 * math.sqrt(((gained + lost) / rows - difference**2) / rows)


SETTINGS = [
    (rows, margin, discordance)
    for rows in (200, 300, 500, 1000, 2000, 5000)
    for margin in (0.005, 0.01, 0.02)
    for discordance in (0.01, 0.02, 0.03)
    if discordance > margin
]


@pytest.mark.parametrize(("rows", "margin", "discordance"), SETTINGS)
def test_a_candidate_that_is_worse_by_the_margin_passes_in_about_one_of_twenty_runs(
    rows: int, margin: float, discordance: float
):
    assert 0.02 <= _share_of_false_passes(rows, margin, discordance, _tango_low) <= 0.06


@pytest.mark.parametrize(("rows", "margin"), [(200, 0.01), (300, 0.01), (300, 0.02), (1000, 0.01), (5000, 0.005)])
def test_a_candidate_that_only_loses_does_not_pass_more_often(rows: int, margin: float):
    # With losses alone, counts are so few that the error jumps: 0 % at 200 rows and a point, 6.02 % at 300 and two.
    assert _share_of_false_passes(rows, margin, margin, _tango_low) <= 0.0605


@pytest.mark.parametrize(("rows", "margin", "discordance"), [(200, 0.005, 0.01), (300, 0.01, 0.02), (500, 0.02, 0.03)])
def test_walds_bound_would_pass_far_too_often(rows: int, margin: float, discordance: float):
    assert _share_of_false_passes(rows, margin, discordance, _wald_low) > 0.07


@pytest.mark.parametrize(
    ("discordance", "one_point", "half_a_point"),
    [(0.005, 310, 1237), (0.01, 619, 2474), (0.02, 1237, 4947), (0.05, 3092, 12366)],
)
def test_needed_rows_are_those_of_the_table(discordance: float, one_point: int, half_a_point: int):
    assert needed_rows(discordance, 0.01, rows=100_000) == one_point
    assert needed_rows(discordance, 0.005, rows=100_000) == half_a_point


def test_so_many_rows_clear_a_candidate_without_a_loss_in_four_cases_of_five():
    rows = needed_rows(0.02, 0.01, rows=10_000)
    tables = np.random.default_rng(3).multinomial(rows, [0.01, 0.01, 0.98], size=2000)
    passed = np.mean([tango_bounds(int(lost), int(gained), rows).low > -0.01 for lost, gained, _ in tables])
    assert 0.77 <= passed <= 0.83


def test_few_rows_without_a_difference_are_not_taken_for_equality():
    assert needed_rows(0.0, 0.01, rows=60) == needed_rows(0.05, 0.01, rows=60) > 3000


@pytest.mark.parametrize(("margin", "rows"), [(0.0, 10), (-0.01, 10), (0.01, 0)])
def test_needed_rows_refuses_what_no_number_of_rows_decides(margin: float, rows: int):
    with pytest.raises(ValueError, match=f"margin {margin} and {rows} rows"):
        needed_rows(0.01, margin, rows=rows)


@pytest.mark.parametrize(("margin", "rows"), [(0.01, 299), (0.005, 598), (0.001, 2995)])
def test_rows_without_discordance_are_the_fewest(margin: float, rows: int):
    assert rows_without_discordance(margin) == rows
    assert (1 - margin) ** rows <= 0.05 < (1 - margin) ** (rows - 1)


@given(st.integers(1, 100_000), st.sampled_from([0.9, 0.95, 0.99]))
def test_a_kind_of_the_largest_unseen_share_stays_unseen_as_rarely_as_said(units: int, confidence: float):
    share = largest_unseen_share(units, confidence)
    assert stats.binom.pmf(0, units, share) == pytest.approx(1 - confidence, rel=1e-9)


@pytest.mark.parametrize(("units", "confidence"), [(0, 0.95), (10, 1.0)])
def test_no_units_bound_nothing(units: int, confidence: float):
    with pytest.raises(ValueError, match=f"{units} units at confidence {confidence}"):
        largest_unseen_share(units, confidence)


@pytest.mark.parametrize(("margin", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.01, 1.0)])
def test_rows_without_discordance_refuses_what_is_no_share(margin: float, confidence: float):
    with pytest.raises(ValueError, match=f"margin {margin} at confidence {confidence}"):
        rows_without_discordance(margin, confidence)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_scipys_binomial_test(lost: int, gained: int):
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar_exact(lost, gained) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_rows_neither_overflows_nor_rounds_away():
    assert mcnemar_exact(5000, 5200) == pytest.approx(stats.binomtest(5000, 10_200).pvalue, rel=1e-9)
    assert mcnemar_exact(0, 1000) == 2.0**-999


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="-1 lost and 2 gained"):
        mcnemar_exact(-1, 2)


def test_holm_steps_down_in_the_order_given():
    # Worked by hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 raised to its forerunner.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_lies_between_the_p_values_and_bonferroni(p_values: list[float]):
    adjusted = holm(p_values)
    for value, plain in zip(adjusted, p_values, strict=True):
        assert plain <= value <= min(1.0, len(p_values) * plain)
    by_size = [value for _, value in sorted(zip(p_values, adjusted, strict=True))]
    assert by_size == sorted(by_size)
