"""The fitted temperature against a fine grid, known truth and cases that have no optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from mstedge.runtime.postprocess import softmax
from mstedge.runtime.temperature import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    fitted_temperature,
    negative_log_likelihood,
)

GRID = np.geomspace(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE, 251)


def drawn(seed: int, rows: int, classes: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels from a network whose logits are `scale` times too large."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes)) * 2
    labels = np.array([generator.choice(classes, p=row) for row in softmax(logits)])
    return (logits * scale).astype(np.float32), labels


@given(st.integers(0, 10**6), st.integers(5, 60), st.integers(2, 6), st.floats(0.2, 8))
def test_no_temperature_of_a_fine_grid_is_better(seed: int, rows: int, classes: int, scale: float) -> None:
    logits, labels = drawn(seed, rows, classes, scale)
    found = fitted_temperature(logits, labels)
    on_grid = [negative_log_likelihood(logits, labels, each) for each in GRID]
    if found is None:
        assert int(np.argmin(on_grid)) in {0, len(GRID) - 1}
    else:
        assert negative_log_likelihood(logits, labels, found) <= min(on_grid) + 1e-9
        assert found == pytest.approx(GRID[int(np.argmin(on_grid))], rel=2 * (GRID[1] / GRID[0] - 1))


@given(st.integers(0, 10**6), st.floats(1, 10))
def test_likelihood_is_that_of_scikit_learn(seed: int, temperature: float) -> None:
    logits, labels = drawn(seed, 20, 4, 1.0)  # a lower temperature gives probabilities that scikit-learn cuts off
    expected = log_loss(labels, softmax(logits, temperature), labels=range(4))
    assert negative_log_likelihood(logits, labels, temperature) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_what_was_too_sure_is_found_again(scale: float) -> None:
    assert fitted_temperature(*drawn(1, 20_000, 5, scale)) == pytest.approx(scale, rel=0.05)


@given(st.integers(0, 10**6), st.floats(0.5, 2))
def test_scaled_logits_have_a_scaled_temperature(seed: int, factor: float) -> None:
    logits, labels = drawn(seed, 60, 4, 1.0)
    one, other = fitted_temperature(logits, labels), fitted_temperature(logits * np.float32(factor), labels)
    assume(one is not None and other is not None)
    assert one is not None
    assert other == pytest.approx(factor * one, rel=1e-4)


def test_rows_that_are_all_right_or_mean_nothing_have_no_optimum() -> None:
    logits = (np.eye(4) * 3).astype(np.float32)
    assert fitted_temperature(logits, np.arange(4)) is None
    assert fitted_temperature(logits * 1000, np.arange(4)) is None, "every exponential but one is zero"
    assert fitted_temperature(logits, np.arange(4)[::-1]) is None, "worse than chance at any temperature"


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[3e38, -3e38], [3e38, 2.9e38]], np.float32)
    assert np.isfinite(negative_log_likelihood(logits, np.array([0, 0]), 0.05))
