"""
One layer of a BERT-like encoder over packed tokens, with explicit forward and backward passes.

The function is that of transformers' `BertLayer` (and of the same layer in ELECTRA, RoBERTa and XLM-RoBERTa). Written out,
it needs one matrix product for query, key and value, one cast of a tensor to bfloat16 where autograd makes several, no
padding in attention, and in the last layer hardly any work for the tokens that the classifier does not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import gelu

from rerank_plugin.training.cpu.dropout import drop, kept_mask, scale_of

# oneDNN compiles and keeps a kernel for every shape, so few distinct shapes save time and memory.
WIDTH_STEP = 8


@dataclass(frozen=True)
class Group:
    """
    Pairs of about the same length, whose attention is one matrix product.

    :param start: Position of its first token among the packed tokens.
    :param lengths: Tokens of each pair; each takes the width of the longest, rounded up to a multiple of `WIDTH_STEP`.
    """

    start: int
    lengths: tuple[int, ...]

    @property
    def width(self) -> int:
        """Tokens reserved for each pair."""
        return -(-max(self.lengths) // WIDTH_STEP) * WIDTH_STEP

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.start + len(self.lengths) * self.width


@dataclass(frozen=True)
class LayerPlan:
    """
    How a layer is computed, apart from its weights.

    :param heads: Attention heads.
    :param groups: The pairs of the batch.
    :param first_only: Whether only the first token of each pair is computed.
    :param epsilons: Epsilons of the two layer norms.
    :param attention_dropout: Dropout probability of attention weights.
    :param hidden_dropout: Dropout probability of the two sublayers' outputs.
    :param dtype: Data type of the matrix products.
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


class LayerWeights:
    """
    The weights of a layer, in the form that its matrix products need.

    :param own: Weight and bias of query, key, value, attention output, its norm, intermediate, output, its norm.
    :param heads: Attention heads.
    :param dtype: Data type of the matrix products; norms keep their own.
    """

    def __init__(self, own: Sequence[torch.Tensor], heads: int, dtype: torch.dtype) -> None:
        wq, bq, wk, bk, wv, bv, wo, bo, w_norm1, b_norm1, wi, bi, wf, bf, w_norm2, b_norm2 = own
        self.scale = (wq.shape[1] // heads) ** -0.5
        self.qkv = torch.cat([wq * self.scale, wk, wv]).to(dtype), torch.cat([bq * self.scale, bk, bv]).to(dtype)
        self.mix = wo.to(dtype), bo.to(dtype)
        self.inner = wi.to(dtype), bi.to(dtype)
        self.out = wf.to(dtype), bf.to(dtype)
        self.norm1 = w_norm1, b_norm1
        self.norm2 = w_norm2, b_norm2


def forward(
    x: torch.Tensor, weights: LayerWeights, plan: LayerPlan, generator: torch.Generator
) -> tuple[torch.Tensor, tuple[Any, ...]]:
    """
    Compute a layer.

    :param x: Hidden states, shape (packed tokens, size).
    :param weights: Weights of the layer.
    :param plan: How it is computed.
    :param generator: Random number generator for dropout.
    :returns: The new hidden states, of the same shape or (pairs, size) if only first tokens are computed, and the tensors
        that `backward` needs.
    """
    low, size = x.to(plan.dtype), [x.shape[1]]
    qkv = _linear(low, *weights.qkv)
    context, attention = _attend(qkv, plan, generator)
    read = x[plan.first_tokens()] if plan.first_only else x
    sum1, kept1 = _add(read, _linear(context, *weights.mix), plan, generator)
    middle, *moments1 = torch.native_layer_norm(sum1, size, *weights.norm1, plan.epsilons[0])
    low_middle = middle.to(plan.dtype)
    inner = _linear(low_middle, *weights.inner)
    active = gelu(inner)
    sum2, kept2 = _add(middle, _linear(active, *weights.out), plan, generator)
    result, *moments2 = torch.native_layer_norm(sum2, size, *weights.norm2, plan.epsilons[1])
    ends = (sum1, moments1, kept1), (sum2, moments2, kept2)
    return result, (low, qkv, attention, context, low_middle, inner, active, *ends)


def backward(
    gradient: torch.Tensor, saved: tuple[Any, ...], weights: LayerWeights, plan: LayerPlan, *, needs_input: bool
) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...]]:
    """
    Compute the gradients of a layer.

    :param gradient: Gradient of the output of `forward`.
    :param saved: Tensors saved by `forward`.
    :param weights: Weights of the layer.
    :param plan: How it was computed.
    :param needs_input: Whether the gradient of the input is needed.
    :returns: The gradient of the hidden states, or `None`, and those of the weights, in the order of `LayerWeights`.
    """
    low, qkv, attention, context, low_middle, inner, active, (sum1, moments1, kept1), (sum2, moments2, kept2) = saved
    d_sum2, d_w_norm2, d_b_norm2 = _norm_backward(gradient, sum2, *moments2, *weights.norm2)
    d_out = _dropped(d_sum2, kept2, plan)
    d_inner = torch.ops.aten.gelu_backward(d_out @ weights.out[0], inner)
    d_middle = d_sum2 + d_inner @ weights.inner[0]  # not in place: d_out may be the same tensor
    d_sum1, d_w_norm1, d_b_norm1 = _norm_backward(d_middle, sum1, *moments1, *weights.norm1)
    d_mixed = _dropped(d_sum1, kept1, plan)
    d_qkv = _attend_backward(d_mixed @ weights.mix[0], qkv, attention, plan)
    d_x = None
    if needs_input:
        d_x = (d_qkv @ weights.qkv[0]).to(d_sum1.dtype)
        d_x = d_x.index_add_(0, plan.first_tokens(), d_sum1) if plan.first_only else d_x.add_(d_sum1)
    size = low.shape[1]
    d_wq, d_wk, d_wv = (d_qkv.T @ low).view(3, size, size)
    d_bq, d_bk, d_bv = d_qkv.sum(0).view(3, size)
    of_weights = (
        *(d_wq * weights.scale, d_bq * weights.scale, d_wk, d_bk, d_wv, d_bv),
        *(d_mixed.T @ context, d_mixed.sum(0), d_w_norm1, d_b_norm1),
        *(d_inner.T @ low_middle, d_inner.sum(0)),
        *(d_out.T @ active, d_out.sum(0), d_w_norm2, d_b_norm2),
    )
    return d_x, tuple(weight.to(d_sum1.dtype) for weight in of_weights)


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.addmm(bias, x, weight.T)


def _attend(qkv: torch.Tensor, plan: LayerPlan, generator: torch.Generator) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """
    Attend within each pair.

    :param qkv: Query (scaled), key and value, shape (packed tokens, 3 * size).
    :returns: The attended values, shape (packed tokens, size) or (pairs, size), and the tensors of each group that the
        backward pass needs: the attention weights, and with dropout also the weights after dropout and the mask.
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
            kept = kept_mask(weights.shape, plan.attention_dropout, generator)
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
        gradients = (torch.bmm(d_scores, key), torch.bmm(d_scores.mT, query), torch.bmm(used.mT, upper))
        target = gradient[group.start : group.end].view(pairs, group.width, 3, plan.heads, -1).permute(2, 0, 3, 1, 4)
        for d_heads, place in zip(gradients, target, strict=True):
            by_head = d_heads.view(pairs, plan.heads, d_heads.shape[1], -1)
            place[:, :, : by_head.shape[2]].copy_(by_head)
    return gradient


def _heads(qkv: torch.Tensor, group: Group, plan: LayerPlan) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return query, key and value of a group, each of shape (pairs * heads, tokens, size of a head)."""
    block = qkv[group.start : group.end].view(len(group.lengths), group.width, 3, plan.heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = block.unbind(0)
    if plan.first_only:
        query = query[:, :, :1]
    return query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)


def _padding(group: Group, dtype: torch.dtype) -> torch.Tensor | None:
    """Return the additive mask of a group's padding, shape (pairs, 1, 1, width); `None` if there is no padding."""
    if min(group.lengths) == group.width:
        return None
    beyond = torch.arange(group.width) >= torch.tensor(group.lengths)[:, None]
    return torch.zeros(beyond.shape, dtype=dtype).masked_fill_(beyond, float("-inf"))[:, None, None]


def _add(
    residual: torch.Tensor, out: torch.Tensor, plan: LayerPlan, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Add the output of a sublayer after dropout; return also the mask of kept values."""
    if not plan.hidden_dropout:
        return residual + out, None
    kept = kept_mask(out.shape, plan.hidden_dropout, generator)
    return torch.add(residual, drop(out, kept), alpha=scale_of(plan.hidden_dropout)), kept


def _dropped(gradient: torch.Tensor, kept: torch.Tensor | None, plan: LayerPlan) -> torch.Tensor:
    """Propagate the gradient of a sum back through the dropout of the sublayer."""
    if kept is None:
        return gradient.to(plan.dtype)
    return drop((gradient * scale_of(plan.hidden_dropout)).to(plan.dtype), kept)


def _norm_backward(gradient: torch.Tensor, inputs: torch.Tensor, *saved: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the gradients of a norm's input, weight and bias; `saved`: mean, 1 / deviation, weight, bias."""
    gradients: tuple[torch.Tensor, ...] = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), inputs, [inputs.shape[1]], *saved, [True, True, True]
    )
    return gradients
