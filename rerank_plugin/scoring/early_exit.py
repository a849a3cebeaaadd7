"""Early exit: a shorter network gives cheap logits, which decide the candidates that the whole model scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import ModelError, reason_of
from rerank_plugin.files import replace_file

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

FILE_NAME = "early_exit.safetensors"
REMEDY = "fit it again, or leave early_exit and effort out"


@dataclass(frozen=True)
class EarlyExitNetwork:
    """
    A network with fewer layers than its model, which was trained to give the model's logits. Both have the same embeddings.

    :param layers: Number of layers.
    :param weights: The weights of its layers and of its classifier by their names in the network, float32.
    """

    layers: int
    weights: dict[str, NDArray[np.float32]]

    def save(self, folder: Path) -> Path:
        """Write it beside the model's weights, in float16; return the file."""
        from safetensors.numpy import save

        file = folder / FILE_NAME
        tensors = {name: np.ascontiguousarray(weight, dtype=np.float16) for name, weight in self.weights.items()}
        with replace_file(file, binary=True) as stream:
            stream.write(save(tensors, metadata={"layers": str(self.layers)}))
        return file

    @classmethod
    def load(cls, folder: Path) -> "EarlyExitNetwork":
        """
        Read the early-exit network of a model.

        :param folder: The model's folder.
        :raises ModelError: If it has none, or the file cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        file = folder / FILE_NAME
        if not file.is_file():
            raise ModelError(f"model {folder} has no early-exit network ({FILE_NAME}): leave early_exit and effort out")
        try:
            with safe_open(file, framework="numpy") as tensors:
                layers = int(tensors.metadata()["layers"])
                return cls(layers, {name: tensors.get_tensor(name).astype(np.float32) for name in tensors.keys()})  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{file} is not an early-exit network, or is damaged ({reason_of(error)}): copy it again, or {REMEDY}"
            ) from error


def shorten(model: "CrossEncoder", layers: int) -> Any:
    """
    Cut a model to its first layers, under its own classifier.

    :param model: A model with the structure of BERT; changed in place.
    :param layers: Number of layers to keep.
    :returns: Its network, of transformers.
    :raises ModelError: If the model has another structure, or no more layers than that.
    """
    from rerank_plugin.scoring.backends.networks import encoder_layers

    network = cast("Any", model[0]).model
    all_layers = encoder_layers(network)
    if all_layers is None or not hasattr(network, "classifier"):
        raise ModelError(f"early exit needs a model with the structure of BERT, not {type(network).__name__}")
    if not 1 <= layers < len(all_layers):
        raise ModelError(f"the early-exit network has {layers} layers, the model {len(all_layers)}: {REMEDY}")
    network.base_model.encoder.layer = all_layers[:layers]
    return network


def own_weights(network: Any) -> dict[str, Any]:
    """Return the weights of a shortened network that are not the model's: all but the embeddings."""
    return {name: weight for name, weight in network.state_dict().items() if ".embeddings." not in name}


def cut_to_exit(model: "CrossEncoder", exit_network: EarlyExitNetwork) -> None:
    """
    Turn a model into its early-exit network.

    :param model: A model with the structure of BERT; changed in place.
    :param exit_network: Its early-exit network.
    :raises ModelError: If the two do not belong together.
    """
    import torch

    network = shorten(model, exit_network.layers)
    shapes = {name: tuple(weight.shape) for name, weight in own_weights(network).items()}
    found = {name: weight.shape for name, weight in exit_network.weights.items()}
    if shapes != found:
        name = next(name for name in (*shapes, *found) if shapes.get(name) != found.get(name))
        raise ModelError(
            f"the early-exit network does not belong to this model: {name} has shape {found.get(name)}, not "
            f"{shapes.get(name)}: {REMEDY}"
        )
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in exit_network.weights.items()}, strict=False)
