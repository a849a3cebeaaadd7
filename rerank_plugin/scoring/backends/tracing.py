"""What the converted backends trace: the network with fixed inputs and the logits as its only output."""

from typing import TYPE_CHECKING, Any, cast

import torch

from rerank_plugin.scoring.backends.first_token import shorten_last_layer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class LogitsNetwork(torch.nn.Module):
    """
    The network with its inputs in a fixed order and the logits as only output, as tracing wants it.

    Its last layer is computed for the first token only, where the architecture allows it (see `first_token`).

    :param cross_encoder: The model; it shares its weights, and its last layer is changed. In float32 from here on.
    :param input_names: Names of the inputs, in order.
    """

    def __init__(self, cross_encoder: "CrossEncoder", input_names: tuple[str, ...]) -> None:
        super().__init__()
        self._network = cast("Any", cross_encoder[0]).model.float()
        self._input_names = input_names
        self.eval()
        shorten_last_layer(self._network, dict(zip(input_names, self.example(), strict=True)))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (pairs, 1), for inputs of shape (pairs, tokens)."""
        logits: torch.Tensor = self._network(**dict(zip(self._input_names, inputs, strict=True))).logits
        return logits

    def example(self) -> tuple[torch.Tensor, ...]:
        """
        Inputs to trace with.

        Two pairs of different length: a batch of one, or a mask of ones only, would be traced as constants.
        """
        mask = torch.ones((2, 16), dtype=torch.int64)
        mask[1, 8:] = 0
        return tuple(mask.clone() for _ in self._input_names)
