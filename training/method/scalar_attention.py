"""Multi-head self-attention whose answer is one number per token, as a MaskNet needs it, at three fifths of the price.

With heads h, queries Q, keys K, value projection V, output projection O and a last linear layer w, all of them linear:

    score_i = sum_h sum_j softmax_j(Q_ih K_jh / sqrt(d)) (w O_h V_h) t_j  +  w (O b_V + b_O) + b

So each token contributes one scalar per head instead of a vector, and since every row of a softmax sums to 1, what does
not depend on j leaves it: the value's bias becomes part of the constant. A key's bias adds the same number to a whole
row of the softmax and drops out. For D tokens of width H = D / 2 that is about 3 D^3 floating-point operations per
sample instead of 5 D^3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_WEIGHT_BYTES = 4 << 20  # attention weights held at a time: about what a core's cache takes


def attended_scores(tokens: Tensor, attention: nn.MultiheadAttention, score: nn.Linear) -> Tensor:
    """Compute `score(attention(tokens, tokens, tokens))` by the collapse above; equal but for rounding.

    Args:
        tokens: [rows, tokens, width].
        attention: Self-attention with biases, batch first, without dropout.
        score: From width to one number.

    Returns:
        [rows, tokens].
    """
    heads = attention.num_heads
    width = attention.embed_dim // heads
    query_weight, key_weight, value_weight = attention.in_proj_weight.chunk(3)
    query_bias, _key_bias, value_bias = attention.in_proj_bias.chunk(3)
    scale = width**-0.5
    queries = _by_head(functional.linear(tokens, query_weight * scale, query_bias * scale), heads)
    keys = _by_head(functional.linear(tokens, key_weight), heads)
    folded = score.weight @ attention.out_proj.weight
    per_head = torch.einsum("hd,hdw->hw", folded.view(heads, width), value_weight.view(heads, width, -1))
    scalars = (tokens @ per_head.T).transpose(1, 2)
    constant = folded @ value_bias + score.weight @ attention.out_proj.bias + score.bias
    mixed: Tensor = _ScalarAttention.apply(queries, keys, scalars)  # type: ignore[no-untyped-call]
    return mixed.sum(dim=1) + constant


class _ScalarAttention(torch.autograd.Function):
    """softmax(Q K^T) s per row and head; the weights exist for a few rows at a time, backward makes them again."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, scalars: Tensor) -> Tensor:
        mixed = torch.empty_like(scalars)
        for rows, weights in _weights(queries, keys):
            torch.matmul(weights, scalars[rows, :, :, None], out=mixed[rows, :, :, None])
        ctx.save_for_backward(queries, keys, scalars, mixed)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, scalars, mixed = ctx.saved_tensors
        to_queries, to_keys, to_scalars = (torch.empty_like(each) for each in (queries, keys, scalars))
        for rows, weights in _weights(queries, keys):
            incoming = gradient[rows]
            to_scalars[rows] = (weights.transpose(2, 3) @ incoming[:, :, :, None]).squeeze(-1)
            weights.mul_(incoming[:, :, :, None]).mul_(scalars[rows, :, None, :] - mixed[rows, :, :, None])
            to_queries[rows] = weights @ keys[rows]
            to_keys[rows] = weights.transpose(2, 3) @ queries[rows]
        return to_queries, to_keys, to_scalars


def _weights(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield attention weights [some rows, heads, tokens, tokens], each time as many rows as `_WEIGHT_BYTES` hold."""
    rows, heads, tokens, _width = queries.shape
    together = max(1, _WEIGHT_BYTES // (heads * tokens * tokens * queries.element_size()))
    for start in range(0, rows, together):
        some = slice(start, start + together)
        yield some, torch.softmax(queries[some] @ keys[some].transpose(2, 3), dim=-1)


def _by_head(values: Tensor, heads: int) -> Tensor:
    """[rows, tokens, width] -> [rows, heads, tokens, width of a head]."""
    rows, tokens, width = values.shape
    return values.view(rows, tokens, heads, width // heads).transpose(1, 2)
