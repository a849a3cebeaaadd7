"""Early exit: a smaller network gives cheap logits, which decide the candidates that the whole model scores."""

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
NARROW_HEADS = 4
REMEDY = "fit it again, or leave early_exit and effort out"


@dataclass(frozen=True)
class EarlyExitNetwork:
    """
    A small network that was trained to give the logits of its model, and reads the model's embeddings.

    :param layers: Number of layers.
    :param weights: Its weights by their names in the network, float32; without those that it shares with the model.
    :param width: Size of a token in its layers, in a network as `narrow` makes it; `None`: that of the model, as `shorten`
        leaves it.
    """

    layers: int
    weights: dict[str, NDArray[np.float32]]
    width: int | None = None

    def save(self, folder: Path) -> Path:
        """Write it beside the model's weights, in float16; return the file."""
        from safetensors.numpy import save

        file = folder / FILE_NAME
        tensors = {name: np.ascontiguousarray(weight, dtype=np.float16) for name, weight in self.weights.items()}
        metadata = {"layers": str(self.layers)} | ({} if self.width is None else {"width": str(self.width)})
        with replace_file(file, binary=True) as stream:
            stream.write(save(tensors, metadata=metadata))
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
                metadata = tensors.metadata()
                layers, width = int(metadata["layers"]), int(metadata["width"]) if "width" in metadata else None
                weights = {name: tensors.get_tensor(name).astype(np.float32) for name in tensors.keys()}  # noqa: SIM118
                if layers > len(weights):
                    raise ValueError(f"{layers} layers have more weights than {len(weights)}")
                return cls(layers, weights, width)
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


def narrow(model: "CrossEncoder", layers: int, width: int) -> Any:
    """
    Put a narrow network with random weights in the place of a model's, which reads the model's embeddings.

    :param model: A model that reads a pair as two texts with a separator between them; changed in place.
    :param layers: Number of layers.
    :param width: Size of a token in the layers, a multiple of `NARROW_HEADS`.
    :returns: The new network, of transformers.
    :raises ModelError: If the model has no such separator.
    """
    from rerank_plugin.scoring.matching import matching_network

    transformer, tokenizer = cast("Any", model[0]), cast("Any", model.tokenizer)
    if tokenizer.sep_token_id is None or tokenizer.pad_token_id is None:
        raise ModelError(f"a narrow early-exit network needs a tokenizer with a separator and a padding token: {REMEDY}")
    words = transformer.model.get_input_embeddings()
    network = matching_network(
        words,
        layers=layers,
        width=width,
        heads=NARROW_HEADS,
        separator=tokenizer.sep_token_id,
        padding=tokenizer.pad_token_id,
    )
    transformer.model = network.to(words.weight.device, words.weight.dtype).eval()
    tokenizer.model_max_length = min(tokenizer.model_max_length, network.config.max_position_embeddings)
    return transformer.model


def own_weights(network: Any) -> dict[str, Any]:
    """Return the weights of a network of `shorten` or `narrow` that are not the model's."""
    is_narrow = hasattr(network.base_model.embeddings, "match_embeddings")
    shared = ".word_embeddings." if is_narrow else ".embeddings."
    return {name: weight for name, weight in network.state_dict().items() if shared not in name}


def cut_to_exit(model: "CrossEncoder", exit_network: EarlyExitNetwork) -> None:
    """
    Turn a model into its early-exit network.

    :param model: The model; changed in place.
    :param exit_network: Its early-exit network.
    :raises ModelError: If the two do not belong together.
    """
    import torch

    layers, width = exit_network.layers, exit_network.width
    network = shorten(model, layers) if width is None else narrow(model, layers, width)
    shapes = {name: tuple(weight.shape) for name, weight in own_weights(network).items()}
    found = {name: weight.shape for name, weight in exit_network.weights.items()}
    if shapes != found:
        name = next(name for name in (*shapes, *found) if shapes.get(name) != found.get(name))
        raise ModelError(
            f"the early-exit network does not belong to this model: {name} has shape {found.get(name)}, not "
            f"{shapes.get(name)}: {REMEDY}"
        )
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in exit_network.weights.items()}, strict=False)
