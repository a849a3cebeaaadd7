"""The layers of a transformers network, and a shorter last one."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention

# Layers with plain attention: no relative positions, no causal mask.
PLAIN_LAYERS = {"BertLayer", "RobertaLayer", "XLMRobertaLayer", "CamembertLayer", "ElectraLayer"}
TOLERANCE = 1e-4


def encoder_layers(network: Any) -> Any:
    """Return the layers of a transformers model with the structure of BERT; `None` for other structures."""
    return getattr(getattr(network.base_model, "encoder", None), "layer", None)


class FirstTokenLayer(torch.nn.Module):
    """
    A layer whose output is computed for the first token only, the only one that the classifier reads.

    Keys and values are still those of all tokens, so the result is the same. Of the 12 matrix products of hidden size in a
    layer (4 of attention, 8 of feed-forward) 10 shrink to one row: with six layers this saves 14 % of the work.

    :param layer: A layer of one of the classes in `PLAIN_LAYERS`.
    """

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self._layer = cast("Any", layer)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        """Return shape (pairs, 1, hidden), for hidden states of shape (pairs, tokens, hidden)."""
        attention, first = self._layer.attention, hidden_states[:, :1]
        own = attention.self

        def heads(x: torch.Tensor) -> torch.Tensor:
            return x.view(x.shape[0], -1, own.num_attention_heads, own.attention_head_size).transpose(1, 2)

        context = scaled_dot_product_attention(
            heads(own.query(first)),
            heads(own.key(hidden_states)),
            heads(own.value(hidden_states)),
            attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
        )
        attended = attention.output(context.transpose(1, 2).reshape(first.shape), first)
        output: torch.Tensor = self._layer.output(self._layer.intermediate(attended), attended)
        return output


def shorten_last_layer(network: Any, score: Callable[[], torch.Tensor]) -> bool:
    """
    Replace the last layer by a `FirstTokenLayer`, if the scores stay the same.

    :param network: A transformers model; changed in place.
    :param score: Scores an example with the network, and with whatever comes after it.
    :returns: Whether it was replaced: `False` for other architectures, or if the scores differed.
    """
    layers = encoder_layers(network)
    if layers is None or type(layers[-1]).__name__ not in PLAIN_LAYERS:
        return False
    last = layers[-1]
    with torch.inference_mode():
        before = score()
        layers[-1] = FirstTokenLayer(last)
        try:
            same = torch.allclose(before, score(), atol=TOLERANCE)
        except (RuntimeError, IndexError):  # what comes after it reads other tokens
            same = False
    if not same:
        layers[-1] = last
    return same
