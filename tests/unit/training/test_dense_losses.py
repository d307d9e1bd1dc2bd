"""Losses of dense answers against values worked out by hand, and against those of single answers."""

from __future__ import annotations

import math

import pytest
import torch

from mstedge.training.data.source import UNLABELLED
from mstedge.training.method.losses import cross_entropy, routed_kl, softened_kl, softened_kl_rows

# KL of a fair coin towards one that falls 3:1, and towards one that falls 9:1, in nats.
KL_75 = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
KL_90 = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)


def coins(*heads: float) -> torch.Tensor:
    """Give the logits of one row, [1, 2, 1, places], from the probability of the first class at each place."""
    first = torch.tensor(heads, dtype=torch.float64)
    return torch.stack([first, 1 - first]).log()[None, :, None, :]


def test_kl_is_the_mean_over_places_then_over_rows() -> None:
    learner = torch.zeros(2, 2, 1, 4, dtype=torch.float64)
    target = torch.cat([coins(0.75, 0.25, 0.9, 0.5), coins(0.5, 0.5, 0.5, 0.9)])
    rows = softened_kl_rows(learner, target, 1.0)
    assert rows.tolist() == pytest.approx([(2 * KL_75 + KL_90) / 4, KL_90 / 4], rel=1e-12)
    assert softened_kl(learner, target, 1.0).item() == pytest.approx((KL_75 + KL_90) / 4, rel=1e-12)


def test_kl_softens_and_counts_t_squared() -> None:
    # Odds of 9:1 to the power 1/2 are 3:1.
    value = softened_kl(torch.zeros(1, 2, 1, 1, dtype=torch.float64), coins(0.9), 2.0)
    assert value.item() == pytest.approx(4 * KL_75, rel=1e-12)


def test_kl_knows_the_learner_from_its_target() -> None:
    backwards = softened_kl(coins(0.75), coins(0.5), 1.0).item()
    assert backwards == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), rel=1e-12)
    assert backwards != pytest.approx(KL_75, rel=1e-2)


def test_kl_lets_gradients_into_both_sides() -> None:
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(2, 3, 4, 5, generator=generator).requires_grad_() for _ in range(2)]
    softened_kl(*sides, 4.0).backward()
    assert all(side.grad is not None and side.grad.abs().min() > 0 for side in sides)


def test_one_place_loses_what_a_single_answer_loses() -> None:
    generator = torch.Generator().manual_seed(1)
    learner, target = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 1, UNLABELLED, 2, 4, UNLABELLED, 0])
    rows = softened_kl_rows(learner[:, :, None, None], target[:, :, None, None], 4.0)
    torch.testing.assert_close(rows, softened_kl_rows(learner, target, 4.0), rtol=1e-12, atol=0)
    dense = cross_entropy(learner[:, :, None, None], labels[:, None, None])
    assert dense.item() == pytest.approx(cross_entropy(learner, labels).item(), rel=1e-12)


def test_routed_kl_is_the_mean_over_places_too() -> None:
    routed = torch.stack([coins(0.75, 0.25, 0.9, 0.5), coins(0.5, 0.5, 0.5, 0.9)], dim=1)
    value = routed_kl(torch.zeros(1, 2, 1, 4, dtype=torch.float64), routed, None, temperature=1.0)
    assert value.item() == pytest.approx(((2 * KL_75 + KL_90) / 4 + KL_90 / 4) / 2, rel=1e-12)


def test_cross_entropy_counts_labelled_places() -> None:
    logits = torch.cat([coins(0.25, 0.9, 0.5), coins(0.8, 0.6, 0.3)])
    labels = torch.tensor([[[1, 0, UNLABELLED]], [[UNLABELLED, 1, 1]]])
    expected = -(math.log(0.75) + math.log(0.9) + math.log(0.4) + math.log(0.7)) / 4
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_where_no_place_counts_is_zero_not_nan() -> None:
    logits = coins(0.25, 0.5).requires_grad_()
    loss = cross_entropy(logits, torch.tensor([[[UNLABELLED, UNLABELLED]]]))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()
