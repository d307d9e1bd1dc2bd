"""Pooling and unpooling without indices: the same numbers and gradients as torch's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.nn import functional

from mstedge.errors import ConfigError
from mstedge.training.models.unpooling import pool_with_places, unpool

# A handful of values, so that windows are full of ties; both zeros are equal and not the same bits.
TIED = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0])
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)).map(
    lambda sides: (sides[0], sides[1], 2 * sides[2], 2 * sides[3])
)
MAPS = SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=TIED | ANY))


def by_indices(values: Tensor) -> tuple[Tensor, Tensor]:
    pooled, indices = functional.max_pool2d(values, 2, return_indices=True)
    return pooled, functional.max_unpool2d(pooled, indices, 2)


def by_places(values: Tensor) -> tuple[Tensor, Tensor]:
    pooled, places = pool_with_places(values)
    return pooled, unpool(pooled, places)


def bits(values: Tensor) -> bytes:
    return values.detach().numpy().tobytes()


@given(MAPS)
@settings(max_examples=200, deadline=None)
def test_values_and_gradients_are_those_of_unpooling_by_indices(values: np.ndarray) -> None:
    found = []
    for way in (by_places, by_indices):
        leaf = torch.from_numpy(values.copy()).requires_grad_()
        pooled, unpooled = way(leaf)
        weights = torch.linspace(1.0, 2.0, unpooled.numel()).reshape(unpooled.shape)
        ((weights * unpooled).sum() + (pooled * 0.5).sum()).backward()
        found.append((bits(pooled), bits(unpooled), bits(leaf.grad)))
    assert found[0] == found[1]


def test_what_is_unpooled_need_not_be_what_was_pooled() -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randint(-2, 3, (2, 3, 8, 6), generator=generator).float()
    other = torch.randn(2, 3, 4, 3, generator=generator)
    _, indices = functional.max_pool2d(values, 2, return_indices=True)
    assert torch.equal(unpool(other, pool_with_places(values)[1]), functional.max_unpool2d(other, indices, 2))


@pytest.mark.parametrize("shape", [(1, 1, 3, 4), (1, 1, 4, 5)])
def test_odd_sides_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="a side is odd"):
        pool_with_places(torch.zeros(shape))
