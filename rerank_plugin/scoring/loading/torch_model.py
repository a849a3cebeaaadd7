"""The model in torch, with its tokenizer: run by the torch backend, and converted for the others."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rerank_plugin.errors import ModelError
from rerank_plugin.quiet import quiet_libraries
from rerank_plugin.scoring.early_exit import EarlyExitNetwork, cut_to_exit
from rerank_plugin.scoring.loading.damage import find_damaged_file
from rerank_plugin.scoring.loading.kinds import architectures, check_one_score, check_saved_kind, no_head
from rerank_plugin.scoring.loading.location import LocatedModel, fetch
from rerank_plugin.scoring.loading.pair_inputs import pair_tokenizer
from rerank_plugin.scoring.loading.spec import ModelSpec, not_loaded
from rerank_plugin.scoring.tokens import PairTokenizer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


@dataclass(frozen=True)
class TorchModel:
    """
    A model in torch.

    :param located: Its location and spec.
    :param cross_encoder: The model in evaluation mode, on its device.
    :param tokenizer: Its tokenizer.
    """

    located: LocatedModel
    cross_encoder: "CrossEncoder"
    tokenizer: PairTokenizer


def load_in_torch(located: LocatedModel) -> TorchModel:
    """
    Load a model in torch.

    Weights are read as tensors only: nothing in a pickled file is executed, and a file with other objects is refused.

    :param located: The model.
    :returns: The model and its tokenizer.
    :raises ModelError: If it cannot be read, lacks weights, or is not a reranker with one output.
    """
    with quiet_libraries():
        return _load(located)


def _load(located: LocatedModel) -> TorchModel:
    spec, folder = located.spec, fetch(located)
    from sentence_transformers import CrossEncoder

    kwargs, trust = spec.loading_kwargs(), {"trust_remote_code": spec.trust_remote_code}
    check_saved_kind(spec, folder)
    try:
        model: CrossEncoder = CrossEncoder(
            str(folder),
            device=spec.device,
            **trust,
            # All files were fetched: nothing may come from another place or commit.
            local_files_only=True,
            token=located.spec.hub_options().token,
            model_kwargs=kwargs["model_kwargs"],
            processor_kwargs=kwargs["tokenizer_kwargs"],
            config_kwargs=kwargs["config_kwargs"],
        ).eval()
        network = cast("Any", model[0]).model
        check_one_score(spec, model)
        _check_weights(spec, folder, network)
        if spec.early_exit:
            cut_to_exit(model, EarlyExitNetwork.load(folder))
        _check_vocabulary(folder, model.tokenizer, network)
        tokenizer = _tokenizer(spec, model)
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # whatever transformers, torch, tokenizers or the model's own code raise for a broken file
        raise _explain(spec, folder, error) from error
    return TorchModel(located, model, tokenizer)


def _tokenizer(spec: ModelSpec, model: "CrossEncoder") -> PairTokenizer:
    try:
        return pair_tokenizer(model)
    except ModelError as error:
        raise ModelError(f"model {spec.model!r} cannot be used: {error}") from error


def _explain(spec: ModelSpec, folder: Path, error: Exception) -> ModelError:
    """Name the file that keeps a model from loading, if it can be found."""
    damaged = find_damaged_file(folder)
    if damaged is not None:
        return ModelError(f"model {spec.model!r} cannot be loaded: {damaged}; copy or download the model again")
    if "ignore_mismatched_sizes" in str(error):
        return ModelError(
            f"model {spec.model!r} cannot be loaded: the shapes of the weights in {folder} do not fit its config.json; "
            "copy or download the model again, all files from one place"
        )
    return not_loaded(spec.model, error)


def _check_weights(spec: ModelSpec, folder: Path, network: Any) -> None:
    """
    Refuse a model of which some weights are missing: transformers fills them with random numbers, and only warns.

    transformers marks the parameters that it has read. If one lacks the mark, the weights are loaded once more to ask
    transformers which ones were missing.
    """
    parameters = dict(network.named_parameters())
    unmarked = [name for name, parameter in parameters.items() if not getattr(parameter, "_is_hf_initialized", False)]
    if not unmarked or len(unmarked) == len(parameters):
        return
    kwargs = {**spec.loading_kwargs()["model_kwargs"], "config": network.config, "local_files_only": True}
    _, report = type(network).from_pretrained(str(folder), output_loading_info=True, **kwargs)
    missing = sorted(report["missing_keys"])
    if missing and type(network).__name__ not in architectures(folder):
        raise no_head(spec, folder)
    if missing:
        raise ModelError(
            f"model {spec.model!r} lacks {len(missing)} of its weights ({missing[0]}, ...): {folder} was cut or is "
            "of another architecture; copy or download the model again"
        )


def _check_vocabulary(folder: Path, tokenizer: Any, network: Any) -> None:
    """Refuse the tokenizer of another model: a converted network would read past its embeddings without an error."""
    embeddings = network.get_input_embeddings()
    known, size = getattr(embeddings, "num_embeddings", None), int(tokenizer.vocab_size)  # without tokens added later
    if known is not None and size > known:
        raise ModelError(
            f"{folder / 'tokenizer.json'} has {size} tokens, but the model has embeddings of "
            f"{known} only: the tokenizer belongs to another model; copy or download the model again, "
            "all files from one place"
        )
