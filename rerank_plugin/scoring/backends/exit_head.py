"""A network cut after some of its layers, with a linear head on the first token."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class FirstToken(torch.nn.Module):
    """What a pooler becomes: the first token as it is."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return shape (pairs, hidden), for shape (pairs, tokens, hidden)."""
        return hidden[:, 0]


class FirstTokenHead(torch.nn.Module):
    """
    A linear classifier on the first token.

    :param weight: Shape (hidden,).
    :param bias: Added to the product.
    """

    def __init__(self, weight: NDArray[np.float32], bias: float) -> None:
        super().__init__()
        self._linear = torch.nn.Linear(len(weight), 1)
        with torch.no_grad():
            self._linear.weight.copy_(torch.from_numpy(weight)[None])
            self._linear.bias.fill_(bias)

    def forward(self, hidden: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return logits of shape (pairs, 1), for a pooled vector or the hidden states of all tokens."""
        is_pooled = hidden.dim() == 2
        logits: torch.Tensor = self._linear(hidden if is_pooled else hidden[:, 0])
        return logits


def exit_network(network: Any, layer: int, weight: NDArray[np.float32], bias: float) -> None:
    """
    Cut a network; it keeps its interface.

    :param network: A model of transformers with the structure of BERT; changed in place.
    :param layer: Layers to keep.
    :param weight: See `FirstTokenHead`.
    :param bias: See `FirstTokenHead`.
    """
    network.base_model.encoder.layer = network.base_model.encoder.layer[:layer]
    network.classifier = FirstTokenHead(weight, bias).to(network.device)
    if getattr(network.base_model, "pooler", None) is not None:
        network.base_model.pooler = FirstToken()
