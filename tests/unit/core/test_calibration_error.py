"""The expected calibration error, worked by hand and against a plain loop over bins."""

from __future__ import annotations

import numpy as np
import pytest

from mstedge.calibration_error import expected_calibration_error


def _two_classes(confidences: list[float]) -> np.ndarray:
    return np.array([[confidence, 1 - confidence] for confidence in confidences], dtype=np.float32)


def test_confidence_that_is_earned_has_no_error():
    # Of four rows at 0.75, three are right.
    assert expected_calibration_error(_two_classes([0.75] * 4), np.array([0, 0, 0, 1])) == 0


def test_the_error_is_the_gap_weighted_by_rows():
    # Two rows at 0.9 and wrong, two at 0.6 and right: (2 x 0.9 + 2 x 0.4) / 4.
    found = expected_calibration_error(_two_classes([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 0, 0]))
    assert found == pytest.approx(0.65, abs=1e-6)


def test_gaps_of_opposite_sign_cancel_only_within_a_bin():
    probabilities, labels = _two_classes([0.9, 0.6]), np.array([1, 0])
    assert expected_calibration_error(probabilities, labels, bins=15) == pytest.approx((0.9 + 0.4) / 2, abs=1e-6)
    assert expected_calibration_error(probabilities, labels, bins=1) == pytest.approx((0.9 - 0.4) / 2, abs=1e-6)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_that_of_the_definition(bins: int):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(5, 0.4), size=3000)
    labels = generator.integers(0, 5, size=3000)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for bin_number in range(bins):
        inside = (confidence > bin_number / bins) & (confidence <= (bin_number + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(probabilities, labels, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_full_confidence_belongs_to_the_last_bin_although_rounding_exceeds_one():
    probabilities = np.array([[np.nextafter(np.float32(1), np.float32(2)), 0.0]], dtype=np.float32)
    assert expected_calibration_error(probabilities, np.array([0])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("rows", "labels"), [((0, 3), 0), ((4, 3), 3), ((4,), 4)])
def test_shapes_that_do_not_fit_are_refused(rows: tuple[int, ...], labels: int):
    with pytest.raises(ValueError, match=r"expected \[rows, classes\]"):
        expected_calibration_error(np.ones(rows), np.zeros(labels, dtype=np.int64))


def test_probabilities_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        expected_calibration_error(np.array([[np.nan, 0.5]]), np.array([0]))
