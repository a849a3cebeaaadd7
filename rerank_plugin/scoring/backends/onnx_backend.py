"""The cross-encoder in ONNX Runtime, exported in memory straight from torch."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rerank_plugin.errors import MissingDependencyError, ModelError
from rerank_plugin.scoring.backends.registry import LoadedModel
from rerank_plugin.scoring.backends.tracing import LogitsNetwork
from rerank_plugin.scoring.tokens import Features

try:
    import onnx  # noqa: F401  torch's exporter needs it, and says so only at the end of the export
    import onnxruntime
except ImportError as error:
    raise MissingDependencyError("backend 'onnx' needs onnx and onnxruntime: pip install 'rerank-plugin[onnx]'") from error

OPSET = 17  # the newest that the tracing exporter knows and that every onnxruntime since 1.15 runs
# A model in memory is one protobuf message, which cannot be larger than this.
MOST_BYTES = 2**31 - 1


class ONNXBackend:
    """
    Run the model in ONNX Runtime on the CPU, in float32.

    :param model: The loaded model; only its weights and structure are used, not its device.
    :raises ModelError: If the model is too large for one ONNX message (2 GB).
    """

    def __init__(self, model: LoadedModel) -> None:
        size = sum(tensor.numel() * tensor.element_size() for tensor in model.cross_encoder.state_dict().values())
        if size > MOST_BYTES:
            raise ModelError(
                f"the model has {size / 2**30:.1f} GiB of weights, more than ONNX holds (2): choose backend 'openvino'"
            )
        self._session = onnxruntime.InferenceSession(_export(model), providers=["CPUExecutionProvider"])

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch. See `Backend.logits`."""
        scores: NDArray[np.float32] = self._session.run(None, dict(features))[0].reshape(-1).astype(np.float32)
        return scores


def _export(model: LoadedModel) -> bytes:
    network = LogitsNetwork(model)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter reports that a newer one exists (it needs two more packages, and is slower), and Python branches.
        warnings.simplefilter("ignore")
        file = Path(folder, "model.onnx")
        torch.onnx.export(
            network,
            network.example(),
            str(file),
            input_names=list(model.input_names),
            output_names=["logits"],
            dynamic_axes={name: {0: "pairs", 1: "tokens"} for name in model.input_names},
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()
