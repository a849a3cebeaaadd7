"""BERT without padding: the pairs of a batch are concatenated, and attention stays within each pair."""

from typing import Any, cast

import numpy as np
import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from rerank_plugin.scoring.backends.networks import encoder_layers
from rerank_plugin.scoring.tokens import Features

ARCHITECTURE, EMBEDDINGS = "BertForSequenceClassification", "BertEmbeddings"
TOLERANCE = 0.05  # of a logit, in half precision


class PaddingFreeBert(torch.nn.Module):
    """
    Compute the logits of a BERT cross-encoder for pairs of any lengths, without padding tokens.

    Query, key and value are one matrix product, and the last layer is computed for the first token only, the only one that
    the classifier reads. On CUDA, attention is variable-length FlashAttention (`torch.nn.attention.varlen`); elsewhere,
    where that does not exist, attention is computed pair by pair.

    :param network: A `BertForSequenceClassification` of transformers with one output. Its weights are shared, except those
        of query, key and value.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self._network = cast("Any", network)
        self._layers = list(encoder_layers(network))
        self._heads = self._network.config.num_attention_heads
        attentions = [layer.attention.self for layer in self._layers]
        self._qkv = [
            tuple(
                torch.cat([getattr(projection, name) for projection in (x.query, x.key, x.value)])
                for name in ("weight", "bias")
            )
            for x in attentions
        ]

    def score(self, features: Features, device: torch.device) -> torch.Tensor:
        """
        Remove the padding of a batch and score it.

        :param features: Arrays of shape (pairs, tokens), by input name.
        :param device: Where the network is.
        :returns: Logits, shape (pairs,).
        """
        ids, mask = features["input_ids"], features["attention_mask"].astype(bool)
        types = features.get("token_type_ids", np.zeros_like(ids))
        input_ids, token_type_ids = torch.from_numpy(np.stack([ids[mask], types[mask]])).to(device)
        logits: torch.Tensor = self(input_ids, token_type_ids, torch.from_numpy(mask.sum(1)))
        return logits

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Return the logits, shape (pairs,).

        :param input_ids: Token ids of all pairs, concatenated, shape (tokens,).
        :param token_type_ids: Token types, same shape.
        :param lengths: Tokens of each pair, shape (pairs,), on the CPU.
        """
        device, longest = input_ids.device, int(lengths.max())
        ends = torch.cat([torch.zeros(1, dtype=torch.int32), lengths.cumsum(0, dtype=torch.int32)])
        positions = torch.arange(len(input_ids)) - ends[:-1].long().repeat_interleave(lengths)
        starts, ends = ends[:-1].long().to(device, non_blocking=True), ends.to(device, non_blocking=True)
        embeddings = self._network.bert.embeddings
        x = embeddings.LayerNorm(
            embeddings.word_embeddings(input_ids)
            + embeddings.position_embeddings(positions.to(device, non_blocking=True))
            + embeddings.token_type_embeddings(token_type_ids)
        )
        for layer, (weight, bias) in zip(self._layers, self._qkv, strict=True):
            q, k, v = linear(x, weight, bias).view(len(x), 3, self._heads, -1).unbind(1)
            query_ends, longest_query = ends, longest
            if layer is self._layers[-1]:
                q, x = q[starts], x[starts]
                query_ends, longest_query = torch.arange(len(starts) + 1, dtype=torch.int32, device=device), 1
            context = _attend(q, k, v, (query_ends, ends), (longest_query, longest))
            attended = layer.attention.output(context.reshape(len(x), -1), x)
            x = layer.output(layer.intermediate(attended), attended)
        pooled = torch.tanh(self._network.bert.pooler.dense(x))
        logits: torch.Tensor = self._network.classifier(pooled).view(-1)
        return logits


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    ends: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
) -> torch.Tensor:
    """Compute attention within each pair; all tensors have shape (tokens, heads, size)."""
    if q.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        return cast("torch.Tensor", varlen_attn(q.contiguous(), k, v, *ends, *longest))
    by_pair = (torch.split(tensor, of.diff().tolist()) for tensor, of in ((q, ends[0]), (k, ends[1]), (v, ends[1])))
    return torch.cat(
        [
            scaled_dot_product_attention(*(tensor.transpose(0, 1) for tensor in pair)).transpose(0, 1)
            for pair in zip(*by_pair, strict=True)
        ]
    )


def without_padding(network: torch.nn.Module, example: Features) -> PaddingFreeBert | None:
    """
    Build the padding-free form of a network, if there is one and its logits are the same.

    :param network: A transformers model for sequence classification.
    :param example: Inputs to compare the logits on.
    :returns: The module; `None` for other architectures, a torch without variable-length attention (before 2.10), a device
        that does not support it, or if the logits differ.
    """
    if type(network).__name__ != ARCHITECTURE or type(cast("Any", network).bert.embeddings).__name__ != EMBEDDINGS:
        return None
    device = cast("Any", network).device
    padding_free = PaddingFreeBert(network)
    try:
        with torch.inference_mode():
            logits = padding_free.score(example, device)
            inputs = {name: torch.from_numpy(array).to(device) for name, array in example.items()}
            same = torch.allclose(cast("Any", network)(**inputs).logits.view(-1), logits, atol=TOLERANCE)
    except (ImportError, RuntimeError):
        return None
    return padding_free if same else None
