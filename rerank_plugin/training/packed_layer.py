"""
One layer of a BERT-like encoder over packed tokens, with its way back written out.

The function is that of transformers' `BertLayer` (and of ELECTRA's, RoBERTa's and XLM-RoBERTa's, which is the same). Written
out, it takes one matrix product for query, key and value, one cast of a tensor to bfloat16 where autograd makes several,
attention without padding, and in the last layer next to nothing for the tokens that no classifier reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import gelu

from rerank_plugin.training.dropout import draw_kept, drop, scale_of


@dataclass(frozen=True)
class Group:
    """
    Pairs of about the same length, which are attended to in one product.

    :param start: Position of its first token among the packed ones.
    :param lengths: Tokens of each pair; all pairs take the room of the longest.
    """

    start: int
    lengths: tuple[int, ...]

    @property
    def width(self) -> int:
        """Room of a pair, in tokens."""
        return max(self.lengths)

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.start + len(self.lengths) * self.width


@dataclass(frozen=True)
class LayerPlan:
    """
    How a layer is computed, beside its weights.

    :param heads: Attention heads.
    :param groups: The pairs of the batch.
    :param first_only: Whether only the first token of each pair is wanted.
    :param epsilons: Of the two layer norms.
    :param attention_dropout: Probability of an attention weight being dropped.
    :param hidden_dropout: Probability of a value of the two sublayers' output being dropped.
    :param dtype: Of the matrix products.
    """

    heads: int
    groups: tuple[Group, ...]
    first_only: bool
    epsilons: tuple[float, float]
    attention_dropout: float
    hidden_dropout: float
    dtype: torch.dtype

    def first_tokens(self) -> torch.Tensor:
        """Return the positions of the pairs' first tokens."""
        return torch.cat([torch.arange(group.start, group.end, group.width) for group in self.groups])


class PackedLayer(torch.autograd.Function):
    """
    A layer of the encoder: `PackedLayer.apply(x, plan, *weights)`.

    `x` has the shape (packed tokens, size). `weights` are weight and bias of: query, key, value, attention output, its norm,
    intermediate, output, its norm. The result has the shape of `x`, or (pairs, size) where only first tokens are wanted.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, plan: LayerPlan, *weights: torch.Tensor) -> torch.Tensor:
        """Compute the layer; keep what the way back needs."""
        wq, bq, wk, bk, wv, bv, wo, bo, w_norm1, b_norm1, wi, bi, wf, bf, w_norm2, b_norm2 = weights
        size, dtype = x.shape[1], plan.dtype
        with torch.autocast("cpu", enabled=False):
            scale = (size // plan.heads) ** -0.5
            w_qkv, b_qkv = torch.cat([wq * scale, wk, wv]).to(dtype), torch.cat([bq * scale, bk, bv]).to(dtype)
            wo, bo, wi, bi, wf, bf = (tensor.to(dtype) for tensor in (wo, bo, wi, bi, wf, bf))
            low = x.to(dtype)
            qkv = torch.addmm(b_qkv, low, w_qkv.T)
            context, attention = _attend(qkv, plan)
            read = x[plan.first_tokens()] if plan.first_only else x
            sum1, kept1 = _add(read, torch.addmm(bo, context, wo.T), plan)
            middle, mean1, rstd1 = torch.native_layer_norm(sum1, [size], w_norm1, b_norm1, plan.epsilons[0])
            low_middle = middle.to(dtype)
            inner = torch.addmm(bi, low_middle, wi.T)
            active = gelu(inner)
            sum2, kept2 = _add(middle, torch.addmm(bf, active, wf.T), plan)
            result, mean2, rstd2 = torch.native_layer_norm(sum2, [size], w_norm2, b_norm2, plan.epsilons[1])
        ctx.plan, ctx.dropped = plan, kept1 is not None
        ctx.save_for_backward(
            *(w_qkv, wo, wi, wf, w_norm1, b_norm1, w_norm2, b_norm2),
            *(low, qkv, context, low_middle, inner, active),
            *(sum1, mean1, rstd1, sum2, mean2, rstd2),
            *((kept1, kept2) if ctx.dropped else ()),
            *attention,
        )
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of `x` (`None` where it needs none) and of the weights."""
        plan: LayerPlan = ctx.plan
        w_qkv, wo, wi, wf, w_norm1, b_norm1, w_norm2, b_norm2, *saved = ctx.saved_tensors
        low, qkv, context, low_middle, inner, active, sum1, mean1, rstd1, sum2, mean2, rstd2, *saved = saved
        kept1, kept2 = (saved.pop(0), saved.pop(0)) if ctx.dropped else (None, None)
        size = low.shape[1]
        d_sum2, d_w_norm2, d_b_norm2 = _norm_backward(gradients[0], sum2, mean2, rstd2, w_norm2, b_norm2)
        d_out = _dropped(d_sum2, kept2, plan)
        d_inner = torch.ops.aten.gelu_backward(d_out @ wf, inner)
        d_middle = d_sum2 + d_inner @ wi  # not in place: d_out may be the same tensor
        d_sum1, d_w_norm1, d_b_norm1 = _norm_backward(d_middle, sum1, mean1, rstd1, w_norm1, b_norm1)
        d_mixed = _dropped(d_sum1, kept1, plan)
        d_qkv = _attend_backward(d_mixed @ wo, qkv, saved, plan)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (d_qkv @ w_qkv).to(d_sum1.dtype)
            d_x = d_x.index_add_(0, plan.first_tokens(), d_sum1) if plan.first_only else d_x.add_(d_sum1)
        scale = (size // plan.heads) ** -0.5
        d_wq, d_wk, d_wv = (d_qkv.T @ low).view(3, size, size)
        d_bq, d_bk, d_bv = d_qkv.sum(0).view(3, size)
        of_weights = (
            *(d_wq * scale, d_bq * scale, d_wk, d_bk, d_wv, d_bv),
            *(d_mixed.T @ context, d_mixed.sum(0), d_w_norm1, d_b_norm1),
            *(d_inner.T @ low_middle, d_inner.sum(0)),
            *(d_out.T @ active, d_out.sum(0), d_w_norm2, d_b_norm2),
        )
        return (d_x, None, *(gradient.to(d_sum1.dtype) for gradient in of_weights))


def _attend(qkv: torch.Tensor, plan: LayerPlan) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """
    Attend within each pair.

    :param qkv: Query (scaled), key and value, shape (packed tokens, 3 * size).
    :returns: The attended values, shape (packed tokens, size) or (pairs, size), and what the way back needs of each group:
        the attention weights, and with dropout also those that were used, and which were kept.
    """
    contexts, saved = [], []
    for group in plan.groups:
        query, key, value = _heads(qkv, group, plan)
        scores = torch.bmm(query, key.mT)
        if (padding := _padding(group, scores.dtype)) is not None:
            scores.view(len(group.lengths), plan.heads, -1, group.width).add_(padding)
        weights = torch.softmax(scores, dim=-1)
        saved.append(weights)
        if plan.attention_dropout:
            kept = draw_kept(weights.shape, plan.attention_dropout)
            weights = drop(weights, kept)
            saved += [weights, kept]
        context = torch.bmm(weights, value)
        if plan.attention_dropout:
            context.mul_(scale_of(plan.attention_dropout))
        contexts.append(
            context.view(len(group.lengths), plan.heads, -1, value.shape[-1]).transpose(1, 2).flatten(2).flatten(0, 1)
        )
    return torch.cat(contexts), saved


def _attend_backward(
    d_context: torch.Tensor, qkv: torch.Tensor, saved: Sequence[torch.Tensor], plan: LayerPlan
) -> torch.Tensor:
    """Return the gradient of `qkv`."""
    gradient = torch.zeros_like(qkv) if plan.first_only else torch.empty_like(qkv)
    remaining = iter(saved)
    done = 0
    for group in plan.groups:
        query, key, value = _heads(qkv, group, plan)
        pairs, tokens = len(group.lengths), query.shape[1]
        upper = d_context[done : done + pairs * tokens].view(pairs, tokens, plan.heads, -1).transpose(1, 2)
        upper = upper.reshape(query.shape)
        done += pairs * tokens
        weights = used = next(remaining)
        kept = None
        if plan.attention_dropout:
            used, kept = next(remaining), next(remaining)
            upper = upper * scale_of(plan.attention_dropout)
        d_weights = torch.bmm(upper, value.mT)
        if kept is not None:
            d_weights = drop(d_weights, kept)
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        parts = (torch.bmm(d_scores, key), torch.bmm(d_scores.mT, query), torch.bmm(used.mT, upper))
        target = gradient[group.start : group.end].view(pairs, group.width, 3, plan.heads, -1).permute(2, 0, 3, 1, 4)
        for part, place in zip(parts, target, strict=True):
            found = part.view(pairs, plan.heads, part.shape[1], -1)
            place[:, :, : found.shape[2]].copy_(found)
    return gradient


def _heads(qkv: torch.Tensor, group: Group, plan: LayerPlan) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return query, key and value of a group, each of shape (pairs * heads, tokens, size of a head)."""
    block = qkv[group.start : group.end].view(len(group.lengths), group.width, 3, plan.heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = block.unbind(0)
    if plan.first_only:
        query = query[:, :, :1]
    return query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)


def _padding(group: Group, dtype: torch.dtype) -> torch.Tensor | None:
    """Return what makes the padding of a group unread, shape (pairs, 1, 1, width); `None` where there is no padding."""
    if min(group.lengths) == group.width:
        return None
    beyond = torch.arange(group.width) >= torch.tensor(group.lengths)[:, None]
    return torch.zeros(beyond.shape, dtype=dtype).masked_fill_(beyond, float("-inf"))[:, None, None]


def _add(residual: torch.Tensor, out: torch.Tensor, plan: LayerPlan) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Add the output of a sublayer after its dropout; return also what was kept."""
    if not plan.hidden_dropout:
        return residual + out, None
    kept = draw_kept(out.shape, plan.hidden_dropout)
    return torch.add(residual, drop(out, kept), alpha=scale_of(plan.hidden_dropout)), kept


def _dropped(gradient: torch.Tensor, kept: torch.Tensor | None, plan: LayerPlan) -> torch.Tensor:
    """Take the gradient of a sum back through the dropout of the sublayer."""
    if kept is None:
        return gradient.to(plan.dtype)
    return drop((gradient * scale_of(plan.hidden_dropout)).to(plan.dtype), kept)


def _norm_backward(gradient: torch.Tensor, inputs: torch.Tensor, *saved: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the gradients of a norm's input, weight and bias; `saved`: mean, 1 / deviation, weight, bias."""
    found: tuple[torch.Tensor, ...] = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), inputs, [inputs.shape[1]], *saved, [True, True, True]
    )
    return found
