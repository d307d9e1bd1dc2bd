"""Figures of a part of the split: against the device's own, against sums over everything at once, and by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.calibration_error import expected_calibration_error
from mstedge.errors import ConfigError, DataError, DivergedError
from mstedge.paired_metrics import mean_iou
from mstedge.run_card import Metrics
from mstedge.runtime.evaluate import LabelledAnswers, score_of
from mstedge.schema import decode_json, encode_json
from mstedge.statistics import wilson_interval
from mstedge.training.data.source import UNLABELLED
from mstedge.training.method.losses import cross_entropy
from mstedge.training.scores import Scorer, _dense_interval, accuracy, metrics_of

if TYPE_CHECKING:
    from mstedge.evaluation import Score

CLASSES = 5


def part_of(seed: int, *places: int, rows: int = 40, sharpness: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Make logits and labels; class 4 is answered but never the truth, and some labels are missing."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(rows, CLASSES, *places, generator=generator)
    labels = torch.randint(UNLABELLED, CLASSES - 1, (rows, *places), generator=generator)
    return logits, labels


def scored(logits: torch.Tensor, labels: torch.Tensor, *, batch: int = 15, **changes: Any) -> Metrics:
    clusters = tuple(f"recording {row // 2}" for row in range(len(labels)))
    batches = zip(logits.split(batch), labels.split(batch), strict=True)
    arguments = {"classes": CLASSES, "clusters": clusters, "part": "test", "dense": labels.ndim > 1}
    return metrics_of(batches, **(arguments | changes))


def on_the_device(logits: torch.Tensor, labels: torch.Tensor) -> Score:
    """Score the labelled rows as `mstedge evaluate` does, without torch."""
    known = (labels != UNLABELLED).numpy()
    given_answers = LabelledAnswers(
        labels=labels.numpy()[known],
        answers=logits.argmax(dim=1).numpy()[known],
        probabilities=logits.double().softmax(dim=1).numpy()[known],
        clusters=tuple(f"recording {row // 2}" for row in np.flatnonzero(known)),
    )
    return score_of(given_answers, tuple("abcde"))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), sharpness=st.sampled_from([0.1, 3.0, 40.0]))
def test_a_classifier_gets_the_figures_that_the_device_computes(seed: int, sharpness: float) -> None:
    # At 40 many confidences are exactly 1, at 0.1 all logits of a batch may lie between 0 and 1.
    logits, labels = part_of(seed, sharpness=sharpness)
    ours, device = scored(logits, labels), on_the_device(logits, labels)
    assert (ours.accuracy, ours.low, ours.high) == pytest.approx((device.accuracy, device.low, device.high), abs=1e-12)
    assert ours.average_accuracy == pytest.approx(device.balanced_accuracy, abs=1e-6)
    assert ours.macro_f1 == pytest.approx(device.macro_f1, abs=1e-6)
    assert ours.calibration_error == pytest.approx(device.ece, abs=1e-6)
    supported = [(each.f1, each.rows) for each in device.classes if each.f1 is not None]
    assert ours.weighted_f1 == pytest.approx(sum(f1 * rows for f1, rows in supported) / ours.rows, abs=1e-6)
    assert ours.kappa == pytest.approx(kappa_of(np.array(device.confusion)), abs=1e-6)
    assert ours.mean_iou is None


def kappa_of(confusion: np.ndarray) -> float:
    shares = confusion / confusion.sum()
    chance = shares.sum(axis=0) @ shares.sum(axis=1)
    return float((np.trace(shares) - chance) / (1 - chance))


def test_full_confidence_shares_a_bin_with_nearly_full_confidence() -> None:
    # One row at 1.0 is wrong, nine at 0.95 are right: (0.9 - 0.955) in one bin; in bins of their own it were 0.145.
    logits = torch.tensor([[200.0, 0.0]] + [[float(np.log(19)), 0.0]] * 9)
    labels = torch.tensor([1] + [0] * 9)
    assert scored(logits, labels, classes=2).calibration_error == pytest.approx(0.055, abs=1e-6)


def test_probabilities_that_look_like_logits_are_not_taken_for_such() -> None:
    logits = torch.tensor([[0.0, 1.0], [0.9, 0.1], [0.2, 0.6]])
    labels = torch.tensor([1, 0, 0])
    expected = expected_calibration_error(logits.double().softmax(dim=1).numpy(), labels.numpy())
    assert scored(logits, labels, classes=2).calibration_error == pytest.approx(expected, abs=1e-6)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_maps_get_the_mean_iou_of_the_parity_gate(seed: int) -> None:
    logits, labels = part_of(seed, 3, 4)
    ours = scored(logits, labels)
    known = labels != UNLABELLED
    confusion = np.zeros((CLASSES, CLASSES))
    np.add.at(confusion, (labels[known].numpy(), logits.argmax(dim=1)[known].numpy()), 1)
    assert ours.mean_iou == pytest.approx(float(mean_iou(confusion)), abs=1e-6)
    assert ours.accuracy == pytest.approx(np.trace(confusion) / confusion.sum(), abs=1e-12)
    recalls = np.diagonal(confusion)[:4] / confusion.sum(axis=1)[:4]
    assert ours.average_accuracy == pytest.approx(recalls.mean(), abs=1e-6)
    assert (ours.macro_f1, ours.weighted_f1, ours.kappa, ours.calibration_error) == (None,) * 4


def test_maps_by_hand() -> None:
    # 0 0 / 1 2 for 0 0 / 1 -, and 1 1 / 1 0 for - 1 / 0 0: class 2 is answered, but only where nothing is known.
    answers = torch.tensor([[[0, 0], [1, 2]], [[1, 1], [1, 0]]])
    labels = torch.tensor([[[0, 0], [1, UNLABELLED]], [[UNLABELLED, 1], [0, 0]]], dtype=torch.int8)
    logits = torch.nn.functional.one_hot(answers, 3).movedim(-1, 1).float()
    found = scored(logits, labels, classes=3)
    assert found.accuracy == 5 / 6
    assert found.average_accuracy == pytest.approx((3 / 4 + 2 / 2) / 2)
    assert found.mean_iou == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert (found.rows, found.clusters) == (2, 1)


@pytest.mark.parametrize("places", [(), (3, 4)])
def test_figures_do_not_depend_on_the_batches(places: tuple[int, ...]) -> None:
    logits, labels = part_of(3, *places)
    whole, single = scored(logits, labels, batch=40), scored(logits, labels, batch=1)
    assert whole.accuracy == single.accuracy
    for name in ("cross_entropy", "average_accuracy", "macro_f1", "kappa", "calibration_error", "mean_iou"):
        one, other = getattr(whole, name), getattr(single, name)
        assert (one is None) == (other is None)
        assert one is None or one == pytest.approx(other, rel=1e-6), name


@pytest.mark.parametrize("places", [(), (3, 4)])
@pytest.mark.parametrize("batch", [1, 15, 40])
def test_running_sums_are_the_loss_and_the_accuracy_over_everything(places: tuple[int, ...], batch: int) -> None:
    logits, labels = part_of(11, *places)
    logits = logits.double()
    scorer = Scorer(CLASSES)
    for some, known in zip(logits.split(batch), labels.split(batch), strict=True):
        scorer.add(some, known)
    assert scorer.labelled == int((labels != UNLABELLED).sum())
    assert scorer.cross_entropy == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-12)
    assert scorer.accuracy == pytest.approx(accuracy(logits, labels), abs=1e-6)


def test_half_precision_is_added_up_in_full() -> None:
    logits, labels = part_of(5, rows=400)
    narrow = logits.bfloat16()
    scorer = Scorer(CLASSES)
    scorer.add(narrow, labels)
    assert scorer.cross_entropy == pytest.approx(float(cross_entropy(narrow.double(), labels)), rel=1e-6)


def test_large_maps_in_half_precision_are_finite() -> None:
    # 5 * 1600 * 10 is beyond the largest float16.
    logits = torch.full((1, CLASSES, 40, 40), 10.0, dtype=torch.float16)
    assert scored(logits, torch.zeros(1, 40, 40, dtype=torch.uint8)).accuracy == 1.0


def test_sums_keep_no_graph() -> None:
    scorer = Scorer(CLASSES)
    scorer.add(part_of(0)[0].requires_grad_(), part_of(0)[1])
    assert not torch.as_tensor(scorer._cross_entropy).requires_grad


def test_without_a_label_the_loss_is_zero_and_the_accuracy_unknown() -> None:
    scorer = Scorer(CLASSES)
    scorer.add(torch.zeros(3, CLASSES), torch.full((3,), UNLABELLED))
    assert (scorer.cross_entropy, scorer.labelled) == (0.0, 0)
    assert np.isnan(scorer.accuracy)


def maps(shares: list[float], places: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Make one map per share of right places, of which only the first `places` have a label."""
    labels = torch.full((len(shares), 1000), UNLABELLED)
    answers = torch.zeros(len(shares), 1000, dtype=torch.int64)
    for row, (share, count) in enumerate(zip(shares, places, strict=True)):
        labels[row, :count] = 0
        answers[row, round(share * count) :] = 1
    return torch.nn.functional.one_hot(answers, CLASSES).movedim(-1, 1).float(), labels


def dense_interval(shares: list[float], places: list[int]) -> tuple[float, float, float]:
    logits, labels = maps(shares, places)
    found = scored(logits, labels, clusters=tuple(str(row) for row in range(len(shares))))
    return found.accuracy, found.low, found.high


def test_places_of_one_map_do_not_count_as_independent() -> None:
    shares = np.random.default_rng(2).choice([0.3, 0.5, 0.7, 0.9], size=40).tolist()
    share, low, high = dense_interval(shares, [1000] * 40)
    # All maps are of one size: the t-interval of their shares, 2.0227 standard errors at 39 degrees of freedom.
    reach = 2.0227 * np.std(shares, ddof=1) / np.sqrt(40)
    assert (share, low, high) == pytest.approx((np.mean(shares), share - reach, share + reach), abs=1e-4)
    assert high - low > 5 * (wilson_interval(share * 40_000, 40_000).high - wilson_interval(share * 40_000, 40_000).low)


def test_interval_of_maps_with_unequal_numbers_of_labels_holds_the_truth() -> None:
    generator = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        # Maps with more labels are harder: the truth is (0.8 * 100 + 0.6 * 1000) / 1100.
        places = generator.choice([100.0, 1000.0], size=30)
        shares = np.where(places == 100, 0.8, 0.6) + generator.uniform(-0.2, 0.2, size=30)
        low, high = _dense_interval(np.stack([shares * places, places], axis=1))
        held += low <= 0.68 / 1.1 <= high
    # 380 are expected, 4.4 the standard deviation; the mean of the shares, 0.7, would be held nearly never.
    assert 362 <= held <= 397


@pytest.mark.parametrize(("shares", "places"), [([0.5, 0.9, 0.7], [1000, 1000, 1000]), ([1.0] * 30, [1000] * 30)])
def test_few_or_equal_maps_get_the_wide_interval(shares: list[float], places: list[int]) -> None:
    share, low, high = dense_interval(shares, places)
    assert (low, high) == pytest.approx(wilson_interval(share * len(shares), len(shares)))


def test_one_large_map_among_small_ones_counts_as_little_more_than_one() -> None:
    _, low, high = dense_interval([0.5] * 5, [1000, 10, 10, 10, 10])
    alone = wilson_interval(0.5, 1)
    assert high - low > 0.95 * (alone.high - alone.low)


def test_maps_without_a_label_are_not_counted() -> None:
    logits, labels = maps([0.5, 0.7, 0.0, 0.0], [1000, 1000, 0, 0])
    found = scored(logits, labels)
    assert (found.rows, found.clusters, found.accuracy) == (2, 1, 0.6)


def test_kappa_of_one_class_is_none_and_the_card_can_be_read_again() -> None:
    found = scored(torch.tensor([[1.0, 0, 0, 0, 0]] * 4), torch.zeros(4, dtype=torch.int64))
    assert (found.kappa, found.accuracy, found.macro_f1) == (None, 1.0, 1.0)
    assert decode_json(encode_json(found), Metrics, source="card") == found


def test_a_card_of_an_earlier_version_can_be_read() -> None:
    old = {"part": "test", "accuracy": 0.9, "low": 0.8, "high": 1, "rows": 5, "clusters": 5, "cross_entropy": 0.4}
    assert decode_json(json.dumps(old).encode(), Metrics, source="card").average_accuracy is None


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("places", [(), (3, 4)])
def test_logits_that_are_not_finite_are_named(broken: float, places: tuple[int, ...]) -> None:
    logits, labels = part_of(1, *places)
    logits[9, 2] = broken
    with pytest.raises(DivergedError, match=r"1 rows of the test part are not finite: recording 4\n") as raised:
        scored(logits, labels)
    assert raised.value.hint


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("rows", [0, 4])
def test_a_part_without_labels_is_refused(part: Literal["validation", "test"], rows: int) -> None:
    logits, labels = torch.zeros(rows, CLASSES), torch.full((rows,), UNLABELLED)
    with pytest.raises(DataError, match=f"no row of the {part} part has a label"):
        scored(logits, labels, part=part)


def test_logits_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="logits have 5 classes: expected 4"):
        Scorer(4).add(*part_of(0))


def test_rows_that_have_no_cluster_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        scored(*part_of(0), clusters=("one",) * 39)
