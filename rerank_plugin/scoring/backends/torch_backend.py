"""The cross-encoder in torch, as sentence-transformers runs it."""

import numpy as np
import torch
from numpy.typing import NDArray

from rerank_plugin.scoring.backends.registry import LoadedModel
from rerank_plugin.scoring.tokens import Features


class TorchBackend:
    """
    Run the model in torch, on any device and in any precision that it was loaded with.

    :param model: The loaded model.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model.cross_encoder.eval()

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch. See `Backend.logits`."""
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self._model.device) for name, array in features.items()}
            scores: NDArray[np.float32] = self._model(tensors)["scores"].float().cpu().numpy()
        return scores.reshape(-1)
