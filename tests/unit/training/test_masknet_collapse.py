"""The collapsed attention of a MaskNet is the plain one, in value and gradient, for any shape and number of heads."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mstedge.training.method import masknet, scalar_attention
from mstedge.training.method.masknet import MaskNet, collapse_is_faster


def made(width: int, heads: int, factor: int, rows: int) -> tuple[MaskNet, torch.Tensor]:
    """Make a MaskNet in float64 whose every weight and bias counts, and features for it."""
    generator = torch.Generator().manual_seed(width + 100 * heads + 1000 * rows)
    mask_net = MaskNet((width,), heads=heads, hidden_dim_factor=factor).double().eval()
    for parameter in mask_net.parameters():
        spread = 2.0 if parameter.ndim == 1 else 2.0 / parameter.shape[1] ** 0.5
        parameter.data = spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return mask_net, torch.randn(rows, width, generator=generator, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 40), st.integers(1, 6))
def test_values_are_those_of_the_plain_path(heads: int, factor: int, more: int, rows: int) -> None:
    mask_net, features = made(heads * factor + more, heads, factor, rows)
    with torch.no_grad():
        plain, collapsed = mask_net.plain_scores(features), mask_net.collapsed_scores(features)
    torch.testing.assert_close(collapsed, plain, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 30), st.integers(1, 5))
def test_gradients_are_those_of_the_plain_path(heads: int, factor: int, more: int, rows: int) -> None:
    plain, features = made(heads * factor + more, heads, factor, rows)
    collapsed = copy.deepcopy(plain)
    inputs = [features.clone().requires_grad_() for _ in range(2)]
    weights = torch.linspace(-1.0, 2.0, features.numel(), dtype=torch.float64).view_as(features)
    (plain.plain_scores(inputs[0]) * weights).sum().backward()
    (collapsed.collapsed_scores(inputs[1]) * weights).sum().backward()
    pairs = [(one.grad, other.grad) for one, other in zip(plain.parameters(), collapsed.parameters(), strict=True)]
    for one, other in [*pairs, (inputs[0].grad, inputs[1].grad)]:
        assert one is not None
        assert other is not None
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-11 * (1 + float(one.abs().max())))


def test_the_key_bias_drops_out() -> None:
    mask_net, features = made(24, 3, 2, 4)
    before = mask_net.plain_scores(features)
    hidden = mask_net.attention.embed_dim
    mask_net.attention.in_proj_bias.data[hidden : 2 * hidden] += 5.0
    torch.testing.assert_close(mask_net.plain_scores(features), before, rtol=1e-12, atol=1e-12)
    mask_net.collapsed_scores(features).sum().backward()
    gradient = mask_net.attention.in_proj_bias.grad
    assert gradient is not None
    assert not gradient[hidden : 2 * hidden].any()
    assert gradient[:hidden].any()


def test_rows_in_parts_are_the_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mask_net, features = made(30, 3, 2, 7)
    monkeypatch.setattr(masknet, "_COLLAPSE_FROM_WIDTH", 0)
    with torch.no_grad():
        at_once = mask_net.mask(features)
        monkeypatch.setattr(masknet, "_TOKEN_BYTES", 3 * 30 * 15 * 8)
        seen: list[int] = []
        collapsed = MaskNet.collapsed_scores

        def counted(self: MaskNet, reduced: torch.Tensor) -> torch.Tensor:
            seen.append(len(reduced))
            return collapsed(self, reduced)

        monkeypatch.setattr(MaskNet, "collapsed_scores", counted)
        in_parts = mask_net.mask(features)
        assert mask_net.mask(features[:0]).shape == (0, 30)
    assert seen == [3, 2, 2, 0]
    torch.testing.assert_close(in_parts, at_once, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 30])
def test_the_way_back_is_the_derivative(monkeypatch: pytest.MonkeyPatch, kept_bytes: int) -> None:
    monkeypatch.setattr(scalar_attention, "_KEPT_BYTES", kept_bytes)
    mask_net, features = made(13, 3, 2, 3)
    tokens = mask_net.project(features).unflatten(1, (13, -1)).detach().requires_grad_()
    entry = torch.randn(2 * 6 + 3, 6, dtype=torch.float64, requires_grad=True)
    query_bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scalar_attention._ScalarAttention.apply, (tokens, entry, query_bias, 3))
    tokens.requires_grad_(requires_grad=False)
    assert torch.autograd.gradcheck(scalar_attention._ScalarAttention.apply, (tokens, entry, query_bias, 3))


def test_steps_repeat_bit_for_bit_whether_queries_are_kept_or_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mask_net, features = MaskNet((211,)), torch.randn(5, 211)
    found = []
    for kept_bytes in (1 << 30, 1 << 30, 0):
        monkeypatch.setattr(scalar_attention, "_KEPT_BYTES", kept_bytes)
        mask_net.zero_grad()
        mask = mask_net.mask(features)
        (mask * features).sum().backward()
        found.append([mask.detach(), *(each.grad for each in mask_net.parameters())])
    for again in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], again, strict=True))


def test_scores_too_large_for_exp_are_those_of_the_plain_path() -> None:
    mask_net, features = made(30, 3, 2, 2)
    mask_net.attention.in_proj_weight.data *= 40
    plain, collapsed = mask_net.plain_scores(features), mask_net.collapsed_scores(features)
    tokens = mask_net.project(features).unflatten(1, (30, -1))
    queries, keys, _values = functional.linear(tokens, mask_net.attention.in_proj_weight).chunk(3, dim=2)
    assert (queries @ keys.transpose(1, 2)).abs().max() > 1000
    torch.testing.assert_close(collapsed, plain, rtol=1e-9, atol=1e-9)
    plain_gradient, gradient = (
        torch.autograd.grad(each.sum(), mask_net.project.weight)[0] for each in (plain, collapsed)
    )
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-8, atol=1e-8 * float(plain_gradient.abs().max()))


def test_wide_taps_collapse_narrow_ones_take_the_plain_path() -> None:
    assert not collapse_is_faster(torch.zeros(32, 128))
    assert collapse_is_faster(torch.zeros(32, 298))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not collapse_is_faster(torch.zeros(32, 298))
    narrow, features = made(128, 3, 2, 4)
    assert torch.equal(narrow.mask(features), torch.sigmoid(narrow.plain_scores(features)))


def test_a_wide_mask_in_float32_is_the_plain_one_within_rounding() -> None:
    torch.manual_seed(0)
    mask_net, features = MaskNet((298,)).eval(), torch.randn(4, 298)
    with torch.no_grad():
        torch.testing.assert_close(
            mask_net.mask(features), torch.sigmoid(mask_net.plain_scores(features)), rtol=2e-6, atol=2e-6
        )
