"""Multi-head self-attention whose answer is one number per token, as a MaskNet needs it, at three fifths of the price.

With heads h, queries Q, keys K, value projection V, output projection O and a last linear layer w, all of them linear:

    score_i = sum_h sum_j softmax_j(Q_ih K_jh / sqrt(d)) (w O_h V_h) t_j  +  w (O b_V + b_O) + b

So each token contributes one scalar s_j per head instead of a vector, and since every row of a softmax sums to 1, what
does not depend on j leaves it: the value's bias becomes part of the constant. A key's bias adds the same number to a
whole row of the softmax and drops out. For D tokens of width H = D / 2 that is about 3 D^3 floating-point operations
per sample instead of 5 D^3.

With weights P, m = P s and a gradient g of m, the way back needs no more than P again, from log sum_j exp(Q_i K_j):

    ds = P^T g,   dQ_i = g_i sum_j P_ij (s_j - m_i) K_j,   dK_j = sum_i P_ij (s_j - m_i) g_i Q_i
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_KEPT_BYTES = 64 << 20  # queries and keys held for the way back; beyond, each row's are made again


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
    folded = score.weight @ attention.out_proj.weight
    per_head = torch.einsum("hd,hdw->hw", folded.view(heads, width), value_weight.view(heads, width, -1))
    entry = torch.cat([query_weight * scale, key_weight, per_head])
    constant = folded @ value_bias + score.weight @ attention.out_proj.bias + score.bias
    mixed: Tensor = _ScalarAttention.apply(tokens, entry, query_bias * scale, heads)  # type: ignore[no-untyped-call]
    return mixed.sum(dim=1) + constant


class _ScalarAttention(torch.autograd.Function):
    """softmax(Q K^T) s of every row and head, one after the other: weights of one head at a time stand in the cache.

    `entry` [2 width + heads, width] makes Q, K and s of a row's tokens, in this order and with the tokens last: that
    way every product below is one that matrix libraries are good at.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, entry: Tensor, query_bias: Tensor, heads: int) -> Tensor:
        rows, count, _width = tokens.shape
        keep = any(ctx.needs_input_grad) and rows * count * len(entry) * tokens.element_size() <= _KEPT_BYTES
        kept = tokens.new_empty(rows if keep else 1, len(entry), count)
        mixed = tokens.new_empty(rows, heads, count)
        log_totals, weights = torch.empty_like(mixed), tokens.new_empty(count, count)
        for row, each in enumerate(tokens):
            entered = _enter(each, entry, query_bias, out=kept[row if keep else 0])
            for head, (queries, keys, scalars) in enumerate(_by_head(entered, heads)):
                highest = torch.mm(queries.T, keys, out=weights).amax(dim=1)
                total = weights.sub_(highest[:, None]).exp_().sum(dim=1)
                torch.div(torch.mv(weights, scalars), total, out=mixed[row, head])
                torch.add(highest, total.log_(), out=log_totals[row, head])
        ctx.save_for_backward(tokens, entry, query_bias, mixed, log_totals, *([kept] if keep else []))
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        tokens, entry, query_bias, mixed, log_totals, *kept = ctx.saved_tensors
        to_tokens, to_entry, to_query_bias = torch.empty_like(tokens), torch.zeros_like(entry), 0 * query_bias
        again, to_entered = tokens.new_empty(2, len(entry), tokens.shape[1])
        scratch = tokens.new_empty(2, tokens.shape[1], tokens.shape[1])
        for row, each in enumerate(tokens):
            entered = kept[0][row] if kept else _enter(each, entry, query_bias, out=again)
            _leave(entered, (mixed[row], log_totals[row], gradient[row]), out=to_entered, scratch=scratch)
            torch.mm(to_entered.T, entry, out=to_tokens[row])
            to_entry.addmm_(to_entered, each)
            to_query_bias += to_entered[: len(query_bias)].sum(dim=1)
        return to_tokens, to_entry, to_query_bias, None


def _enter(tokens: Tensor, entry: Tensor, query_bias: Tensor, *, out: Tensor) -> Tensor:
    """Make Q, K and s of one row: [tokens, width] -> [2 width + heads, tokens]."""
    torch.mm(entry, tokens.T, out=out)
    out[: len(query_bias)] += query_bias[:, None]
    return out


def _leave(entered: Tensor, answers: tuple[Tensor, Tensor, Tensor], *, out: Tensor, scratch: Tensor) -> None:
    """Make the gradients of Q, K and s of one row; answers are m, the logarithms of the totals, and g."""
    heads = len(answers[0])
    parts = zip(_by_head(entered, heads), _by_head(out, heads), *answers, strict=True)
    for (queries, keys, scalars), (to_queries, to_keys, to_scalars), mixed, log_total, incoming in parts:
        weights = torch.mm(queries.T, keys, out=scratch[0]).sub_(log_total[:, None]).exp_()
        torch.mv(weights.T, incoming, out=to_scalars)
        weights.mul_(torch.sub(scalars, mixed[:, None], out=scratch[1]))
        torch.mm(keys, weights.T, out=to_queries)
        to_queries.mul_(incoming)
        torch.mm(queries * incoming, weights, out=to_keys)


def _by_head(entered: Tensor, heads: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Give queries and keys [width of a head, tokens] and scalars [tokens] of each head, as views."""
    queries, keys = entered[:-heads].view(2, heads, -1, entered.shape[1])
    return zip(queries, keys, entered[-heads:], strict=True)
