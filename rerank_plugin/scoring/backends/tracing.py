"""What the converted backends trace: the network with fixed inputs and the logits as its only output."""

from typing import Any, cast

import torch

from rerank_plugin.scoring.backends.registry import LoadedModel


class LogitsNetwork(torch.nn.Module):
    """
    The network with its inputs in a fixed order and the logits as only output, as tracing wants it.

    :param model: The loaded model; it shares its weights.
    """

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self._network = cast("Any", model.cross_encoder[0]).model
        self._input_names = model.input_names
        self.eval()

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
