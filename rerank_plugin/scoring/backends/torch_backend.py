"""The cross-encoder in torch, as sentence-transformers runs it."""

import numpy as np
import torch
from numpy.typing import NDArray

from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.source import ModelSource
from rerank_plugin.scoring.tokens import Features

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
CPU_BATCH_TOKENS = 4096
GPU_BATCH_TOKENS = 16_384


class TorchBackend:
    """
    Run the model in torch, on any device.

    Precision `auto` is the one that the model was loaded with on a CPU (`model_kwargs` can choose it), and fp16 elsewhere.

    :param source: The model. Its number of threads is set for all of torch in this process: torch has no other setting.
    """

    def __init__(self, source: ModelSource) -> None:
        self._model = source.cross_encoder.eval()
        self._device = torch.device(self._model.device)
        wanted = source.precision
        if wanted == "auto" and self._device.type != "cpu" and "dtype" not in (source.spec.model_kwargs or {}):
            wanted = "fp16"
        if wanted in DTYPES:
            self._model.to(DTYPES[wanted])
        if source.num_threads is not None:
            torch.set_num_threads(source.num_threads)
        dtype = next(self._model.parameters()).dtype
        self.precision = NAMES.get(dtype, str(dtype))
        self.batch_tokens = CPU_BATCH_TOKENS if self._device.type == "cpu" else GPU_BATCH_TOKENS
        self.grid = ShapeGrid()
        if source.compile_torch:
            self._model.compile(dynamic=True)

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch. See `Backend.logits`."""
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self._device) for name, array in features.items()}
            scores: NDArray[np.float32] = self._model(tensors)["scores"].float().cpu().numpy()
        return scores.reshape(-1)
