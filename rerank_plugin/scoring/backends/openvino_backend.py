"""The cross-encoder in OpenVINO, converted in memory straight from torch."""

import warnings

import numpy as np
import openvino
from numpy.typing import NDArray

from rerank_plugin.scoring.backends.registry import LoadedModel
from rerank_plugin.scoring.backends.tracing import LogitsNetwork
from rerank_plugin.scoring.tokens import Features


class OpenVINOBackend:
    """
    Run the model in OpenVINO on the CPU, in float32.

    :param model: The loaded model; only its weights and structure are used, not its device.
    """

    def __init__(self, model: LoadedModel) -> None:
        network = LogitsNetwork(model)
        with warnings.catch_warnings():
            # The tracer reports Python branches in transformers' mask code; the parity tests cover what they decide.
            warnings.simplefilter("ignore")
            converted = openvino.convert_model(network, example_input=network.example())
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
