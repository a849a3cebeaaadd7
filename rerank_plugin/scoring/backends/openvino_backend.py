"""The cross-encoder in OpenVINO, converted in memory straight from torch."""

import warnings
from typing import Any, cast

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from rerank_plugin.scoring.backends.registry import LoadedModel
from rerank_plugin.scoring.tokens import Features


class _Logits(torch.nn.Module):
    """The network with its inputs in a fixed order and the logits as only output, as tracing wants it."""

    def __init__(self, network: torch.nn.Module, input_names: tuple[str, ...]) -> None:
        super().__init__()
        self._network = network
        self._input_names = input_names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._network(**dict(zip(self._input_names, inputs, strict=True))).logits
        return logits


class OpenVINOBackend:
    """
    Run the model in OpenVINO on the CPU, in float32.

    :param model: The loaded model; only its weights and structure are used, not its device.
    """

    def __init__(self, model: LoadedModel) -> None:
        network = cast("Any", model.cross_encoder[0]).model
        # Two pairs of different length: a batch of one, or a mask of ones only, would be traced as constants.
        mask = torch.ones((2, 16), dtype=torch.int64)
        mask[1, 8:] = 0
        example = tuple(mask.clone() for _ in model.input_names)
        with warnings.catch_warnings():
            # The tracer reports Python branches in transformers' mask code; the parity tests cover what they decide.
            warnings.simplefilter("ignore")
            converted = openvino.convert_model(_Logits(network, model.input_names).eval(), example_input=example)
        for port, name in zip(converted.inputs, model.input_names, strict=True):
            port.get_tensor().set_names({name})
        # Without the hint a CPU with bf16 units computes in bf16, and logits move by more than 1e-2.
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._compiled = openvino.Core().compile_model(converted, "CPU", options)

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch. See `Backend.logits`."""
        # A new request a call: the compiled model is shared between threads, a request must not be.
        request = self._compiled.create_infer_request()
        scores: NDArray[np.float32] = request.infer(features)[0].reshape(-1).astype(np.float32)
        return scores
