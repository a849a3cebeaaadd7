"""Load the base model: with its head, dropout, input length, and the fast encoder on a CPU."""

from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.loading.location import fetch, locate
from rerank_plugin.scoring.loading.spec import ModelSpec, not_loaded
from rerank_plugin.training.fitting.processes import on_cpu
from rerank_plugin.training.recipe.config import TrainingConfig

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# Architectures whose positions start after the padding token's id.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer")


def fetch_base(model: str) -> str:
    """
    Find the files of a base model. Those of a Hub model are downloaded; where the Hub cannot be reached, which is known
    within two seconds, they come from its cache on this machine.

    :param model: Bundled name, folder or Hub id.
    :returns: The folder of its files.
    :raises ModelError: If it cannot be found. The message names the ways out.
    """
    return str(fetch(locate(ModelSpec(model))))


def load_for_training(config: TrainingConfig) -> "CrossEncoder":
    """
    Load the base model; an encoder gets a head with one output and random weights.

    :param config: The hyperparameters.
    :returns: The model, on a GPU if there is one.
    :raises ModelError: If it cannot be found or read.
    :raises InvalidValueError: If it has not more layers than the requested early-exit network.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import AutoConfig, set_seed

    from rerank_plugin.training.cpu.packed_encoder import ATTENTION, can_speed_up, speed_up

    source = fetch_base(config.model)
    set_seed(config.seed)  # before loading, as the head starts from random weights
    model_kwargs: dict[str, Any] = {}
    try:
        original = AutoConfig.from_pretrained(source)
        _check_exit_layer(config, original.num_hidden_layers)
        packed = on_cpu() and can_speed_up(original)
        if packed:
            model_kwargs["attn_implementation"] = ATTENTION
        model: CrossEncoder = CrossEncoder(
            source,
            num_labels=1,
            max_length=min(config.max_length, reading_limit(source)),
            activation_fn=torch.nn.Sigmoid(),
            config_kwargs={} if config.dropout is None else _dropout(original.to_dict(), config.dropout),
            model_kwargs=model_kwargs,
        )
    except InvalidValueError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise not_loaded(config.model, error) from error
    if packed:
        speed_up(model)
    if config.freeze_embeddings:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = ".embeddings." not in name
    return model


def _check_exit_layer(config: TrainingConfig, layers: int) -> None:
    if config.early_exit_width is None and (config.early_exit_layers or 0) >= layers:
        raise InvalidValueError(
            f"early_exit_layers must be from 1 to {layers - 1} for this model, got {config.early_exit_layers}"
        )


def load_tokenizer(source: str) -> Any:
    """
    Load the tokenizer of a model.

    :param source: Folder of the model.
    :raises ModelError: If it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise not_loaded(source, error) from error


def reading_limit(source: str) -> int:
    """
    Return the input length of a model in tokens: that of its tokenizer, limited by its positions.

    :param source: Folder of the model.
    :raises ModelError: If it cannot be read.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise not_loaded(source, error) from error
    limit = int(load_tokenizer(source).model_max_length)  # about 1e30 if the tokenizer has no limit
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        if config.model_type in OFFSET_POSITIONS:
            positions -= config.pad_token_id + 1
        limit = min(limit, positions)
    return limit


def dropout_names(config: dict[str, Any]) -> list[str]:
    """Return the names of the dropout settings in a model's configuration."""
    return [name for name in config if name.endswith(("dropout_prob", "dropout"))]


def _dropout(config: dict[str, Any], value: float) -> dict[str, float]:
    return {name: value for name in dropout_names(config) if config[name] is not None}
