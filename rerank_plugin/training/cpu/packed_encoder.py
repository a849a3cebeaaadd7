"""
A faster encoder for training a cross-encoder on a CPU, which computes the same function.

The tokens of a batch are concatenated without padding (pairs of about the same length share a block), each layer is one step
of autograd, and only the first token leaves the last layer: the classifiers of BERT-like models read no other.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from rerank_plugin.training.cpu.dropout import ByteDropout
from rerank_plugin.training.cpu.packed_layer import Group, LayerPlan
from rerank_plugin.training.cpu.packed_pass import PackedPass, Shard

# Architectures with the same layer: attention, and two sublayers with the norm after the sum.
ARCHITECTURES = ("bert", "electra", "roberta", "xlm-roberta")
ATTENTION = "sdpa"  # the attention implementation whose mask `PackedEncoder` reads
SHORTEST_IN_GROUP = 0.9  # as a share of the longest pair: more padding would cost more than another matrix product
MOST_ATTENTION_WEIGHTS = 640_000  # per group and head, so that they stay in the CPU cache


def can_speed_up(config: Any) -> bool:
    """
    Return whether `speed_up` supports a model.

    :param config: A configuration of transformers.
    """
    return config.model_type in ARCHITECTURES and config.hidden_act == "gelu" and not config.is_decoder


def speed_up(model: nn.Module) -> None:
    """
    Make a model train faster on a CPU.

    :param model: A sequence classifier of transformers that `can_speed_up`, loaded with `attn_implementation="sdpa"`;
        changed in place. Its weights keep their names.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(parent, name, ByteDropout(child.p))
            elif name == "encoder" and hasattr(child, "layer"):
                setattr(parent, name, PackedEncoder(child))


class PackedEncoder(nn.Module):
    """
    Replaces the encoder of a BERT-like model.

    In training it returns only the first token's hidden state; otherwise it calls the original encoder.

    :param encoder: The original encoder.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.config: Any = encoder.config
        self.layer: Any = encoder.layer
        self._plain = [encoder]  # in a list, so that its weights are registered once, under their original names

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **others: Any) -> Any:
        """
        Encode a batch.

        :param hidden_states: Embeddings, shape (pairs, tokens, size).
        :param attention_mask: True where a token may be read, shape (pairs, 1, tokens, tokens); padding is on the right.
            `None`: there is no padding.
        :param others: Other arguments of transformers; unused for BERT-like encoders.
        :returns: An output of transformers; in training, its hidden state has the shape (pairs, 1, size).
        """
        if not self.training:
            return self._plain[0](hidden_states, attention_mask, **others)
        from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

        pairs, tokens, _size = hidden_states.shape
        lengths = [tokens] * pairs if attention_mask is None else attention_mask[:, 0, 0].sum(-1).tolist()
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden_states.dtype
        order: list[int] = []
        places: list[torch.Tensor] = []  # positions in the batch of the packed tokens
        shards: list[Shard] = []
        for members in share_out(lengths, torch.get_num_threads()):
            groups = make_groups([lengths[pair] for pair in members])
            order += members
            for group, own in zip(groups, _by(groups, members), strict=True):
                # Tokens beyond the end of a pair are never read, so any token can stand there.
                places.append(own * tokens + torch.arange(group.width).clamp_(max=tokens - 1))
            start = shards[-1].end if shards else 0
            plans = tuple(self._plan(layer, groups, dtype) for layer in self.layer)
            shards.append(Shard(start, start + groups[-1].end, plans))
        packed = hidden_states.flatten(0, 1).index_select(0, torch.cat([place.flatten() for place in places]))
        weights = [tensor for layer in self.layer for tensor in _weights(layer)]
        result = PackedPass.apply(packed, shards, *weights)  # type: ignore[no-untyped-call]
        back = torch.empty(pairs, dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(pairs)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=result[back][:, None])

    def _plan(self, layer: Any, groups: tuple[Group, ...], dtype: torch.dtype) -> LayerPlan:
        return LayerPlan(
            heads=self.config.num_attention_heads,
            groups=groups,
            first_only=layer is self.layer[-1],
            epsilons=(layer.attention.output.LayerNorm.eps, layer.output.LayerNorm.eps),
            attention_dropout=self.config.attention_probs_dropout_prob,
            hidden_dropout=self.config.hidden_dropout_prob,
            dtype=dtype,
        )


def share_out(lengths: Sequence[int], threads: int) -> list[list[int]]:
    """
    Distribute pairs over threads, so that all have about the same load.

    :param lengths: Tokens of each pair.
    :param threads: Number of threads.
    :returns: The pairs of each thread, the longest first; threads without pairs are left out.
    """
    order = sorted(range(len(lengths)), key=lambda pair: -lengths[pair])
    members: list[list[int]] = [[] for _ in range(min(threads, len(order)))]
    loads = [0] * len(members)
    for pair in order:
        least = loads.index(min(loads))
        members[least].append(pair)
        loads[least] += lengths[pair]
    return members


def make_groups(lengths: Sequence[int]) -> tuple[Group, ...]:
    """
    Group pairs of about the same length.

    :param lengths: Tokens of each pair, the longest first.
    :returns: Groups of pairs, in that order.
    """
    groups: list[Group] = []
    current: list[int] = []
    for length in lengths:
        if current and (
            length < SHORTEST_IN_GROUP * current[0] or (len(current) + 1) * current[0] ** 2 > MOST_ATTENTION_WEIGHTS
        ):
            groups.append(Group(groups[-1].end if groups else 0, tuple(current)))
            current = []
        current.append(length)
    groups.append(Group(groups[-1].end if groups else 0, tuple(current)))
    return tuple(groups)


def _by(groups: Sequence[Group], members: Sequence[int]) -> list[torch.Tensor]:
    """Return the pairs of each group, shape (pairs, 1)."""
    return [pairs[:, None] for pairs in torch.split(torch.tensor(members), [len(group.lengths) for group in groups])]


def _weights(layer: Any) -> list[torch.Tensor]:
    own, attended, output = layer.attention.self, layer.attention.output, layer.output
    attention = [own.query, own.key, own.value, attended.dense, attended.LayerNorm]
    modules = [*attention, layer.intermediate.dense, output.dense, output.LayerNorm]
    return [tensor for module in modules for tensor in (module.weight, module.bias)]
