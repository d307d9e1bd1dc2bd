"""From logits to an answer: laws of softmax, threshold and unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mstedge.manifest import Postprocess
from mstedge.runtime.postprocess import answer_from_logits, softmax, top_margin

LABELS = ("low", "middle", "high")
LOGITS = arrays(np.float32, st.integers(1, 12), elements=st.floats(allow_nan=False, allow_infinity=False, width=32))
SMALL = arrays(np.float32, 3, elements=st.floats(-50, 50, width=32))


@given(LOGITS, st.floats(1e-3, 1e3))
def test_softmax_is_a_distribution_for_every_finite_input(logits: np.ndarray, temperature: float) -> None:
    probabilities = softmax(logits, temperature)
    assert probabilities.dtype == np.float64
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    assert math.isclose(probabilities.sum(), 1.0, rel_tol=1e-12)
    assert probabilities[logits.argmax()] == probabilities.max()


@given(SMALL, st.integers(-8, 8))
def test_softmax_does_not_see_a_common_offset(logits: np.ndarray, offset: int) -> None:
    wide = logits.astype(np.float64)
    np.testing.assert_allclose(softmax(wide + offset), softmax(wide), rtol=1e-9, atol=1e-300)


def test_softmax_is_the_formula() -> None:
    expected = np.exp([0.0, 0.5, 1.0]) / np.exp([0.0, 0.5, 1.0]).sum()
    np.testing.assert_allclose(softmax(np.array([0, 1, 2], np.float32), temperature=2.0), expected, rtol=1e-15)


def test_softmax_works_on_rows() -> None:
    rows = np.array([[0, 1, 2], [2, 1, 0]], np.float32)
    np.testing.assert_array_equal(softmax(rows), np.stack([softmax(row) for row in rows]))


@given(SMALL, st.floats(0.05, 20))
def test_temperature_never_changes_the_index(logits: np.ndarray, temperature: float) -> None:
    answer = answer_from_logits(logits, LABELS, Postprocess(temperature=temperature))
    assert answer.index == logits.argmax()
    assert answer.label == LABELS[answer.index]
    assert answer.probability == answer.probabilities[answer.index]


def test_unknown_only_below_the_threshold() -> None:
    logits = np.array([0, 0, np.log(2)], np.float32)
    probability = answer_from_logits(logits, LABELS, Postprocess()).probability
    assert math.isclose(probability, 0.5, abs_tol=1e-6)
    at = answer_from_logits(logits, LABELS, Postprocess(threshold=probability, unknown="?"))
    above = answer_from_logits(logits, LABELS, Postprocess(threshold=float(np.nextafter(probability, 1)), unknown="?"))
    assert (at.label, at.index) == ("high", 2)
    assert (above.label, above.index) == ("?", 2)
    assert above.probabilities == at.probabilities


def test_temperature_decides_what_the_threshold_sees() -> None:
    logits = np.array([0, 0, 2], np.float32)
    assert answer_from_logits(logits, LABELS, Postprocess(threshold=0.7)).label == "high"
    assert answer_from_logits(logits, LABELS, Postprocess(threshold=0.7, temperature=4)).label == "unknown"


def test_silence_only_below_its_level_and_whatever_the_network_says() -> None:
    logits = np.array([0, 0, 20], np.float32)
    rule = Postprocess(silence_dbfs=-40, silence="quiet", threshold=0.5)
    loud, silent = (answer_from_logits(logits, LABELS, rule, level) for level in (-40.0, -40.001))
    assert (loud.label, silent.label) == ("high", "quiet")
    assert (silent.index, silent.probabilities) == (2, loud.probabilities)
    assert answer_from_logits(logits, LABELS, rule, -np.inf).label == "quiet"
    assert answer_from_logits(logits, LABELS, rule).label == "high", "without a level there is none to look at"
    assert answer_from_logits(logits, LABELS, Postprocess(), -np.inf).label == "high", "without a limit neither"
    unsure = np.zeros(3, np.float32)
    assert answer_from_logits(unsure, LABELS, rule, -50).label == "quiet", "silence comes before unknown"


@pytest.mark.parametrize(
    ("logits", "margin"), [([0, 0], 0.0), ([5], 1.0), ([np.log(3), 0], 0.5), ([0, np.log(2), np.log(2)], 0.0)]
)
def test_margin_is_between_the_two_most_probable(logits: list[float], margin: float) -> None:
    assert top_margin(np.array(logits, np.float32)) == pytest.approx(margin, abs=1e-6)
