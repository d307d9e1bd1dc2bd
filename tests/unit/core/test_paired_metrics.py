"""Metrics of summed counts against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from mstedge.paired_metrics import accuracy_difference, mean_iou, mean_iou_difference


def test_accuracy_difference_is_the_candidates_gain():
    assert accuracy_difference(np.array([200.0, 180.0, 175.0])) == pytest.approx(-0.025)


def test_accuracy_difference_of_equal_gains_is_one_number():
    # Three tenths minus one tenth is not two tenths in binary; three minus one rows are.
    counts = np.array([[10.0, reference, reference + 2] for reference in range(9)])
    assert len(np.unique(accuracy_difference(counts))) == 1


def test_metrics_keep_leading_axes_and_say_nan_where_nothing_was_counted():
    counts = np.zeros((4, 5, 3))
    counts[1:] = [10, 5, 6]
    found = accuracy_difference(counts)
    assert found.shape == (4, 5)
    assert np.isnan(found[0]).all()
    assert found[1:] == pytest.approx(0.1)
    assert np.isnan(mean_iou_difference(np.zeros((2, 8)))).all()


@pytest.mark.parametrize("absent", [None, 2])
def test_mean_iou_is_scikit_learns_over_classes_that_occur(absent: int | None):
    generator = np.random.default_rng(0)
    classes = [index for index in range(4) if index != absent]
    labels, answers = generator.choice(classes, size=500), generator.choice(classes, size=500)
    confusion = confusion_matrix(labels, answers, labels=range(4)).astype(np.float64)
    assert mean_iou(confusion) == pytest.approx(jaccard_score(labels, answers, average="macro"))


def test_a_class_that_is_only_answered_counts_as_missed():
    confusion = np.array([[8.0, 2.0], [0.0, 0.0]])
    assert mean_iou(confusion) == pytest.approx((0.8 + 0.0) / 2)


def test_mean_iou_difference_is_the_candidates_minus_the_references():
    generator = np.random.default_rng(1)
    confusions = generator.integers(1, 50, size=(7, 2, 3, 3)).astype(np.float64)
    found = mean_iou_difference(confusions.reshape(7, 18))
    assert found == pytest.approx([mean_iou(pair[1]) - mean_iou(pair[0]) for pair in confusions])
