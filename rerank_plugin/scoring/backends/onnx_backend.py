"""The cross-encoder in ONNX Runtime."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import MissingDependencyError, ModelError
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.loading.source import ModelSource, available_processors
from rerank_plugin.scoring.tokens import Features

try:
    import onnxruntime
except ImportError as error:
    raise MissingDependencyError("backend 'onnx' needs onnxruntime: pip install 'rerank-plugin[onnx]'") from error

FILE = "model.onnx"
OPSET = 17  # the newest that the tracing exporter knows and that every onnxruntime since 1.15 runs
# A model in one file is one protobuf message, which cannot be larger than this.
MOST_BYTES = 2**31 - 1
BATCH_TOKENS = 2048


class ONNXBackend:
    """
    Run the model in ONNX Runtime on the CPU. Precision `auto` is fp32.

    :param source: The model. Its converted copy is read from disk where there is one.
    :raises ModelError: If the model is too large for one ONNX message (2 GB).
    """

    def __init__(self, source: ModelSource) -> None:
        self.precision = "int8" if source.precision == "int8" else "fp32"
        self.batch_tokens = BATCH_TOKENS
        self.grid = ShapeGrid()

        def write(folder: Path) -> None:
            _export(source, folder / FILE)
            if self.precision == "int8":
                import onnx

                from rerank_plugin.scoring.backends.int8 import quantize

                onnx.save(quantize(onnx.load(folder / FILE), source), folder / FILE)

        folder = source.converted("onnx", self.precision, f"onnxruntime {onnxruntime.__version__}", write)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = source.num_threads or available_processors()
        # The arena keeps the peak of the largest batch for ever.
        options.enable_cpu_mem_arena = False
        self._session: Any = onnxruntime.InferenceSession(
            str(folder / FILE), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch. See `Backend.logits`."""
        scores: NDArray[np.float32] = self._session.run(None, dict(features))[0].reshape(-1).astype(np.float32)
        return scores


def _export(source: ModelSource, file: Path) -> None:
    try:
        import onnx  # noqa: F401  torch's exporter needs it, and says so only at the end of the export
    except ImportError as error:
        raise MissingDependencyError(
            "converting a model for backend 'onnx' needs onnx: pip install 'rerank-plugin[onnx]'"
        ) from error
    import torch

    from rerank_plugin.scoring.backends.tracing import LogitsNetwork

    size = sum(tensor.numel() * 4 for tensor in source.cross_encoder.state_dict().values())
    if size > MOST_BYTES:
        raise ModelError(
            f"the model has {size / 2**30:.1f} GiB of weights, more than ONNX holds (2): choose backend 'openvino'"
        )
    names = source.tokenizer.input_spec.input_names
    network = LogitsNetwork(source.cross_encoder, names)
    with warnings.catch_warnings():
        # The exporter reports that a newer one exists (it needs two more packages, and is slower), and Python branches.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            network.example(),
            str(file),
            input_names=list(names),
            output_names=["logits"],
            dynamic_axes={name: {0: "pairs", 1: "tokens"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
