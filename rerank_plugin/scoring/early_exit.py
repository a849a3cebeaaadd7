"""Early exit: a head after the first layers gives cheap logits, which decide the candidates that get all layers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import ModelError, reason_of

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

FILE_NAME = "early_exit.safetensors"


@dataclass(frozen=True)
class EarlyExitHead:
    """
    A linear head on the first token, after the first layers.

    :param layer: Number of layers computed.
    :param weight: Shape (hidden,), float32.
    :param bias: Added to the product.
    """

    layer: int
    weight: NDArray[np.float32]
    bias: float

    def save(self, folder: Path) -> Path:
        """Write the head beside the model's weights; return the file."""
        from safetensors.numpy import save_file

        file = folder / FILE_NAME
        tensors = {"weight": self.weight.astype(np.float32), "bias": np.array([self.bias], dtype=np.float32)}
        save_file(tensors, file, metadata={"layer": str(self.layer)})
        return file

    @classmethod
    def load(cls, folder: Path) -> "EarlyExitHead":
        """
        Read the head of a model.

        :param folder: The model's folder.
        :raises ModelError: If it has none, or the file cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        file = folder / FILE_NAME
        if not file.is_file():
            raise ModelError(f"model {folder} has no early-exit head ({FILE_NAME}): leave early_exit out")
        try:
            with safe_open(file, framework="numpy") as tensors:
                layer = int(tensors.metadata()["layer"])
                return cls(layer, tensors.get_tensor("weight"), float(tensors.get_tensor("bias")[0]))
        except (SafetensorError, OSError, KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                f"{file} is not an early-exit head, or is damaged ({reason_of(error)}): "
                "copy it again, or leave early_exit out"
            ) from error


def cut_to_exit(model: "CrossEncoder", head: EarlyExitHead) -> None:
    """
    Cut a model to its first layers, with the head on top.

    :param model: A model with the structure of BERT; changed in place.
    :param head: The head.
    :raises ModelError: If the model has another structure, or fewer layers.
    """
    from rerank_plugin.scoring.backends.networks import cut_after_layer, encoder_layers

    network = cast("Any", model[0]).model
    layers = encoder_layers(network)
    if layers is None or not hasattr(network, "classifier"):
        raise ModelError(f"early exit needs a model with the structure of BERT, not {type(network).__name__}")
    if not 1 <= head.layer < len(layers):
        raise ModelError(f"the early-exit head is for layer {head.layer}, the model has {len(layers)}: train it again")
    hidden = int(network.config.hidden_size)
    if head.weight.shape != (hidden,):
        raise ModelError(
            f"the early-exit head has weights of shape {head.weight.shape}, the model has {hidden} hidden units: "
            "train it again"
        )
    cut_after_layer(network, head.layer, head.weight, head.bias)
