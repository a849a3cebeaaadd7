"""The cross-encoder in ONNX Runtime."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import MissingDependencyError, ModelError, reason_of
from rerank_plugin.scoring.backends.backend import BackendInput, available_processors
from rerank_plugin.scoring.backends.int8 import NNCF, quantize
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.loading.converted import ConversionRecipe, ConvertedModel
from rerank_plugin.scoring.loading.torch_model import TorchModel
from rerank_plugin.scoring.tokens import Features

try:
    import onnxruntime
except ImportError as error:
    raise MissingDependencyError("backend 'onnx' needs onnxruntime: pip install 'rerank-plugin[onnx]'") from error

FILE = "model.onnx"
# torch's exporter needs it, but says so only at the end of the export.
ONNX = ("onnx", "converting a model for backend 'onnx' needs onnx: pip install 'rerank-plugin[onnx]'")
OPSET = 17  # the newest that the tracing exporter supports and that every onnxruntime since 1.15 runs
# A model in a single file is one protobuf message, which cannot be larger than this.
MOST_BYTES = 2**31 - 1
BATCH_TOKENS = 2048


def recipe(precision: str) -> ConversionRecipe:
    """
    Return how a model is converted to ONNX.

    :param precision: A precision of the backend; `auto` is fp32.
    """
    stored = "int8" if precision == "int8" else "fp32"

    def write(model: TorchModel, folder: Path) -> None:
        _export(model, folder / FILE)
        if stored == "int8":
            import onnx

            exported = onnx.load(folder / FILE)
            inputs = [port.name for port in exported.graph.input]
            onnx.save(quantize(exported, model.tokenizer, inputs), folder / FILE)

    needs = (ONNX, NNCF) if stored == "int8" else (ONNX,)
    return ConversionRecipe("onnx", stored, f"onnxruntime {onnxruntime.__version__}", write, needs)


class ONNXBackend:
    """
    Run the model in ONNX Runtime on the CPU.

    :param source: The converted model, and how to run it.
    :raises ModelError: If ONNX Runtime cannot read it.
    """

    def __init__(self, source: BackendInput[ConvertedModel]) -> None:
        self.precision = "int8" if source.precision == "int8" else "fp32"
        self.batch_tokens = BATCH_TOKENS
        self.grid = ShapeGrid()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = source.num_threads or available_processors()
        # The arena would hold the memory of the largest batch for ever.
        options.enable_cpu_mem_arena = False
        file = source.model.folder / FILE
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(file), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises a class per status, without a common base
            raise ModelError(
                f"ONNX Runtime cannot read {file} ({reason_of(error)}): delete its folder, and the model is converted again"
            ) from error
        # The graph has no inputs that the network does not use, such as the token types of DeBERTa-v3.
        self._inputs = [port.name for port in self._session.get_inputs()]

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch. See `Backend.logits`."""
        outputs = self._session.run(None, {name: features[name] for name in self._inputs})
        scores: NDArray[np.float32] = outputs[0].reshape(-1).astype(np.float32)
        return scores


def _export(model: TorchModel, file: Path) -> None:
    import torch

    from rerank_plugin.scoring.backends.chain import LogitsNetwork

    size = sum(tensor.numel() * 4 for tensor in model.cross_encoder.state_dict().values())
    if size > MOST_BYTES:
        raise ModelError(
            f"the model has {size / 2**30:.1f} GiB of weights, more than ONNX holds (2): choose backend 'openvino'"
        )
    names = model.tokenizer.input_spec.input_names
    network = LogitsNetwork(model.cross_encoder, names)
    with warnings.catch_warnings():
        # The exporter warns of Python branches, and of a newer exporter (slower, and needs two more packages).
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
