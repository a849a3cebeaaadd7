"""The cross-encoder in torch: sentence-transformers' own forward pass, or without padding where the device supports it."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from rerank_plugin.scoring.backends.backend import BackendInput
from rerank_plugin.scoring.backends.chain import score_chain
from rerank_plugin.scoring.backends.padding_free import PaddingFreeBert, without_padding
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.loading.torch_model import TorchModel
from rerank_plugin.scoring.tokens import Features, Pair, PairTokenizer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
CPU_BATCH_TOKENS = 4096
GPU_BATCH_TOKENS = 16_384
# While Python launches the kernels of a batch, an H100 could compute about this many tokens of a MiniLM-L6.
GPU_BATCH_COST = 4096
# Without padding, this larger batch is faster still: 21,900 passages a second on an H100 instead of 18,600.
PADDING_FREE_BATCH_TOKENS = 65_536


class TorchBackend:
    """
    Run the model in torch, on any device.

    Precision `auto` is, on a CPU, the one that the model was loaded with (`model_kwargs` can choose it), elsewhere fp16.
    On CUDA, in half precision, a BERT runs without padding; see `PaddingFreeBert`.

    :param source: The model, and how to run it. The number of threads applies to all of torch in this process: torch has no
        narrower setting.
    """

    def __init__(self, source: BackendInput[TorchModel]) -> None:
        self._model, tokenizer = source.model.cross_encoder, source.model.tokenizer
        self._device = torch.device(self._model.device)
        on_cpu = self._device.type == "cpu"
        wanted = source.precision
        if wanted == "auto" and not on_cpu and "dtype" not in (source.model.located.spec.model_kwargs or {}):
            wanted = "fp16"
        if wanted in DTYPES:
            self._model.to(DTYPES[wanted])
        if source.num_threads is not None:
            torch.set_num_threads(source.num_threads)
        dtype = next(self._model.parameters()).dtype
        self.precision = NAMES.get(dtype, str(dtype))
        self.batch_tokens = CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS
        self.grid = ShapeGrid() if on_cpu else ShapeGrid(batch_cost=GPU_BATCH_COST)
        self._padding_free: PaddingFreeBert | None = None
        if len(self._model) == 1 and self._device.type == "cuda" and dtype != torch.float32 and not source.compile_torch:
            self._padding_free = _without_padding(self._model, tokenizer)
            if self._padding_free is not None:
                self.batch_tokens = PADDING_FREE_BATCH_TOKENS
        if source.compile_torch:
            self._model.compile(dynamic=True)

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch. See `Backend.logits`."""
        with torch.inference_mode():
            scores = (
                score_chain(self._model, self._tensors(features))
                if self._padding_free is None
                else self._padding_free.score(features, self._device)
            )
        logits: NDArray[np.float32] = scores.float().cpu().numpy()
        return logits.reshape(-1)

    def _tensors(self, features: Features) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array).to(self._device) for name, array in features.items()}


def _without_padding(model: "CrossEncoder", tokenizer: PairTokenizer) -> PaddingFreeBert | None:
    query = tokenizer.encode_query("a query")
    pairs = [Pair(query, passage) for passage in tokenizer.encode(["a passage", "another passage that is longer"])]
    width = max(tokenizer.length(pair) for pair in pairs)
    return without_padding(cast("Any", model[0]).model, tokenizer.features(pairs, width=width))
