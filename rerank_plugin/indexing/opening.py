"""Opening what an indexing pipeline writes into."""

from pathlib import Path
from typing import Any

from rerank_plugin.errors import PipelineConfigError
from rerank_plugin.indexing.foreign_target import ForeignTarget
from rerank_plugin.indexing.index_target import IndexTarget
from rerank_plugin.indexing.targets import Target
from rerank_plugin.pipelines import STORE_TYPE
from rerank_plugin.store import HybridDocumentStore


def open_target(store: Any, folder: Path | None, *, name: str) -> Target:
    """
    Return what a pipeline writes into.

    :param store: The document store of its writer, as in the YAML.
    :param folder: The index; of another store, a folder for the manifest. `None`: the folder in the YAML, or the user's data
        folder.
    :param name: Name of the pipeline, for error messages.
    :raises PipelineConfigError: If the store cannot be made.
    :raises MissingDependencyError: If its package is not installed.
    :raises StoreError: If it cannot be opened.
    """
    if not isinstance(store, dict) or not isinstance(store.get("type"), str):
        raise PipelineConfigError(f"{name} cannot index: its writer has no document_store")
    if store["type"] == STORE_TYPE:
        try:
            own = HybridDocumentStore.from_dict(store)
        except TypeError as error:
            raise PipelineConfigError(f"{name} cannot be loaded: document_store of its writer: {error}") from error
        if own.path is None:
            raise PipelineConfigError(f"{name} cannot index: its document_store has no path, so that it keeps nothing")
        return IndexTarget(own, Path(own.path).expanduser())
    return ForeignTarget.of(store, folder, name=name)
