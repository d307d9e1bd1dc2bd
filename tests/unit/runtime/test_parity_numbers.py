"""How far logits are apart: the formulas, for one answer per row and for one per place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mstedge.runtime.parity.numbers import (
    HISTOGRAM_EDGES,
    by_place,
    cosine,
    histogram,
    kl_rows,
    probability_differences,
    sqnr_db,
)

LOGITS = (np.random.default_rng(1).normal(size=(40, 5)) * 3).astype(np.float32)


def test_sqnr_is_the_formula_and_has_a_ceiling() -> None:
    reference, candidate = np.array([[3.0, 4.0]], np.float32), np.array([[3.0, 4.05]], np.float32)
    assert sqnr_db(reference, candidate)[0] == pytest.approx(20 * np.log10(5 / 0.05), rel=1e-4)
    assert sqnr_db(reference, reference)[0] == pytest.approx(200.0)
    assert sqnr_db(0 * reference, candidate)[0] < -1000


def test_kl_is_the_formula() -> None:
    p, q = np.array([[0.75, 0.25]]), np.array([[0.5, 0.5]])
    found = kl_rows(np.log(p).astype(np.float32), np.log(q).astype(np.float32))
    assert found[0] == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-5)
    assert (kl_rows(LOGITS, LOGITS) == 0).all()


def test_cosine_is_that_of_the_rows() -> None:
    one, other = np.array([[3, 4], [1, 0], [0, 0], [0, 0]], np.float32), np.array([[4, 3], [0, 2], [0, 0], [1, 0]])
    np.testing.assert_allclose(cosine(one, other.astype(np.float32)), [24 / 25, 0, 1, 0])


def test_dense_logits_are_places_with_classes_last() -> None:
    dense = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    places = by_place(dense)
    assert places.shape == (2, 20, 3)
    np.testing.assert_array_equal(places[1, 7], dense[1, :, 1, 2])
    assert by_place(dense[:, :, 0, 0]).shape == (2, 1, 3)


def test_probabilities_of_dense_logits_add_up_over_classes() -> None:
    dense = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    swapped = probability_differences(dense, dense[:, ::-1])
    assert swapped.shape == (2, 4, 3)
    # What one class of a place gains, others of the same place lose.
    assert (swapped.max(axis=-1) <= swapped.sum(axis=-1) / 2 + 1e-12).all()


def test_histogram_counts_every_value_once_and_an_edge_above() -> None:
    found = histogram(np.array([0.0, 1e-9, 1e-8, 5e-6, 0.1, 0.99, 1.0]))
    assert found.edges == HISTOGRAM_EDGES == pytest.approx([10.0**power for power in range(-8, 1)])
    assert found.counts == (2, 1, 0, 1, 0, 0, 0, 0, 2, 1)


@given(st.floats(1e-7, 1e-1), st.integers(0, 1000))
def test_more_noise_never_looks_better(size: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=LOGITS.shape)
    small, large = ((LOGITS + scale * noise).astype(np.float32) for scale in (size, 10 * size))
    assert (sqnr_db(LOGITS, large) < sqnr_db(LOGITS, small)).all()
    assert np.median(cosine(LOGITS, large)) <= np.median(cosine(LOGITS, small)) + 1e-9


@given(arrays(np.float32, (3, 4), elements=st.floats(-50, 50, width=32)), st.floats(-20, 20, width=32))
def test_an_offset_of_all_logits_changes_no_probability(logits: np.ndarray, offset: float) -> None:
    assert probability_differences(logits, logits + np.float32(offset)).max() < 1e-4
