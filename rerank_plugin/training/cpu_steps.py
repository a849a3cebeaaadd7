"""
The two things that make a training step slow on a CPU, done faster: attention, and the random numbers of dropout.

The function that is computed is the same. Attention runs one pair after the other, without its padding, so that the
matrices of a pair stay in the processor's cache. Dropout draws bytes instead of floats, so its probability is rounded to
1/256.
"""

from typing import Any, cast

import torch
from torch import nn

ATTENTION = "rerank_plugin_cpu_training"
BYTE = 256


def speed_up(model: nn.Module) -> None:
    """
    Let a model train faster on a CPU.

    :param model: A model of transformers, loaded with `attn_implementation` set to what `register` returns; changed in
        place.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            # The dropout of attention weights is only read for its probability.
            if isinstance(child, nn.Dropout) and not isinstance(child, ByteDropout):
                setattr(parent, name, ByteDropout(child.p))


def register() -> str:
    """Make the attention known to transformers; return its name for `attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    return ATTENTION


class ByteDropout(nn.Dropout):
    """Dropout by random bytes: on a CPU they take a tenth of the time of torch's Bernoulli draws."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """
        Set some values to 0 while training, and scale the others up.

        :param input: Any shape.
        """
        if not self.training or self.p == 0:
            return input
        kept, scale = draw_kept(input.shape, self.p)
        return input * kept.to(input.dtype).mul_(scale)


def draw_kept(shape: torch.Size, probability: float) -> tuple[torch.Tensor, float]:
    """
    Draw what dropout keeps.

    :param shape: Of what is dropped from.
    :param probability: Of a value being dropped; rounded to 1/256.
    :returns: A mask of that shape, true for what is kept, and what the kept values are multiplied with.
    """
    threshold = round(probability * BYTE)
    count = shape.numel()
    # Such a number is never negative: its highest byte has 7 random bits only, and is left out.
    numbers = torch.empty((count + 6) // 7, dtype=torch.int64).random_()
    draws = numbers.view(torch.uint8).view(-1, 8)[:, :7].reshape(-1)[:count]
    return (draws >= threshold).view(shape), BYTE / (BYTE - threshold)


def attention(
    module: nn.Module,  # noqa: ARG001 - part of the signature
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """
    Scaled dot-product attention, in the form that transformers calls.

    :param module: The layer; unused.
    :param query: Shape (pairs, heads, tokens, size).
    :param key: The same shape.
    :param value: The same shape.
    :param attention_mask: What `sdpa_mask` makes: true where a token may be read, shape (pairs, 1, tokens, tokens); padding
        stands on the right.
    :param scaling: Of the products; `None`: 1 / sqrt(size).
    :param dropout: Probability of an attention weight being dropped.
    :returns: Shape (pairs, tokens, heads, size), and no weights.
    """
    pairs, _heads, tokens, size = query.shape
    lengths = [tokens] * pairs if attention_mask is None else attention_mask[:, 0, 0].sum(-1).tolist()
    scale = size**-0.5 if scaling is None else scaling
    result = _PairByPair.apply(query, key, value, lengths, scale, dropout)  # type: ignore[no-untyped-call]
    return cast("torch.Tensor", result), None


class _PairByPair(torch.autograd.Function):
    """Attention of each pair within its own tokens; the attention weights are kept for the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: list[int],
        scale: float,
        dropout: float,
    ) -> torch.Tensor:
        pairs, heads, tokens, size = query.shape
        result = query.new_zeros((pairs, tokens, heads, size))
        weights, masks, factor = [], [], 1.0
        for pair, n in enumerate(lengths):
            q, k, v = query[pair, :, :n] * scale, key[pair, :, :n], value[pair, :, :n]
            used = weight = torch.softmax(torch.bmm(q, k.transpose(1, 2)), dim=-1)
            weights.append(weight)
            if dropout:
                kept, factor = draw_kept(weight.shape, dropout)
                masks.append(kept)
                used = weight * kept
            result[pair, :n] = torch.bmm(used, v).mul_(factor).transpose(0, 1)
        ctx.save_for_backward(query, key, value, *weights, *masks)
        ctx.lengths, ctx.scale, ctx.factor = lengths, scale, factor
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept_tensors = ctx.saved_tensors
        weights, masks = kept_tensors[: len(ctx.lengths)], kept_tensors[len(ctx.lengths) :]
        grads = [torch.zeros_like(tensor) for tensor in (query, key, value)]
        for pair, n in enumerate(ctx.lengths):
            weight = weights[pair]
            used = weight * masks[pair] if masks else weight
            upper = (gradients[0][pair, :n].transpose(0, 1) * ctx.factor).to(weight.dtype)
            grads[2][pair, :, :n] = torch.bmm(used.transpose(1, 2), upper)
            of_used = torch.bmm(upper, value[pair, :, :n].transpose(1, 2))
            if masks:
                of_used = of_used * masks[pair]
            of_scores = torch._softmax_backward_data(of_used, weight, -1, weight.dtype).mul_(ctx.scale)
            grads[0][pair, :, :n] = torch.bmm(of_scores, key[pair, :, :n])
            grads[1][pair, :, :n] = torch.bmm(of_scores.transpose(1, 2), query[pair, :, :n])
        return (*grads, None, None, None)
