"""Losses against values worked out by hand (numpy, in comments) and against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from mstedge.training.data.source import UNLABELLED
from mstedge.training.method.losses import cross_entropy, load_balance, routed_kl, softened_kl, softened_kl_rows


def logits(*probabilities: float) -> torch.Tensor:
    return torch.log(torch.tensor([probabilities], dtype=torch.float64))


def test_kl_of_two_coins_is_the_textbook_value() -> None:
    # KL(target || learner) = 0.75 ln(0.75/0.5) + 0.25 ln(0.25/0.5) = 0.130812
    value = softened_kl(logits(0.5, 0.5), logits(0.75, 0.25), 1.0)
    assert value.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-12)


def test_kl_is_the_torch_reference_with_its_factor() -> None:
    generator = torch.Generator().manual_seed(3)
    learner, target = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    soft = functional.log_softmax(learner / 4.0, dim=1), functional.softmax(target / 4.0, dim=1)
    assert softened_kl(learner, target, 4.0).item() == pytest.approx(
        16.0 * functional.kl_div(*soft, reduction="batchmean").item(), rel=1e-12
    )


def test_kl_lets_gradients_into_both_sides() -> None:
    one, other = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    softened_kl(one, other, 4.0).backward()
    assert one.grad is not None
    assert other.grad is not None
    assert one.grad.abs().sum() > 0
    assert other.grad.abs().sum() > 0


@given(st.integers(0, 10_000), st.floats(0.5, 10.0))
def test_kl_is_never_negative_and_zero_for_equals(seed: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    learner, target = (3 * torch.randn(4, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    assert (softened_kl_rows(learner, target, temperature) >= -1e-12).all()
    assert softened_kl(learner, learner + 2.0, temperature).item() == pytest.approx(0.0, abs=1e-12)


def test_cross_entropy_counts_labelled_rows_only() -> None:
    values = torch.cat([logits(0.25, 0.75), logits(0.9, 0.1), logits(0.5, 0.5)])
    labels = torch.tensor([1, UNLABELLED, 0])
    expected = -(math.log(0.75) + math.log(0.5)) / 2
    assert cross_entropy(values, labels).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_without_a_label_is_zero_not_nan() -> None:
    values = logits(0.25, 0.75).requires_grad_()
    loss = cross_entropy(values, torch.tensor([UNLABELLED]))
    loss.backward()
    assert loss.item() == 0.0
    assert values.grad is not None
    assert not values.grad.any()


def test_load_balance_is_the_reference_batchmean() -> None:
    # Mean gate (0.6, 0.3, 0.1): (1/3) * [-(1/3) * (ln 1.8 + ln 0.9 + ln 0.3)]
    expected = -(math.log(1.8) + math.log(0.9) + math.log(0.3)) / 9
    assert load_balance(torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-12)
    assert load_balance(torch.full((3,), 1 / 3, dtype=torch.float64)).item() == pytest.approx(0.0, abs=1e-15)


def test_routed_kl_averages_over_the_teachers_of_each_row() -> None:
    learner = torch.zeros(2, 2, dtype=torch.float64)
    one = torch.stack([logits(0.75, 0.25), logits(0.5, 0.5)])
    kl_75 = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    kl_90 = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert routed_kl(learner, one, None, temperature=1.0).item() == pytest.approx(kl_75 / 2, rel=1e-12)
    two = torch.cat([one, logits(0.9, 0.1).expand(2, 1, 2)], dim=1)
    expected = ((kl_75 + kl_90) / 2 + (0 + kl_90) / 2) / 2
    assert routed_kl(learner, two, None, temperature=1.0).item() == pytest.approx(expected, rel=1e-12)
    weights = torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=torch.float64)
    weighted = (kl_75 + 0.75 * kl_90) / 2
    assert routed_kl(learner, two, weights, temperature=1.0).item() == pytest.approx(weighted, rel=1e-12)


def test_shares_of_processes_add_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(5)
    learner, target = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, UNLABELLED, 2, 3, UNLABELLED, 1])
    halves = [slice(0, 6, 2), slice(1, 6, 2)]
    kl = sum(softened_kl(learner[half], target[half], 4.0, rows=6) for half in halves)
    ce = sum(cross_entropy(learner[half], labels[half], counted=4) for half in halves)
    torch.testing.assert_close(kl, softened_kl(learner, target, 4.0))
    torch.testing.assert_close(ce, cross_entropy(learner, labels))
