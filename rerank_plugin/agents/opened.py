"""A pipeline that is searched on behalf of a language model: with or without its second stage, and its documents by id."""

import threading
from pathlib import Path
from typing import Any

from haystack import Document, Pipeline

from rerank_plugin.agents.filters import Field, fields_of
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.pipelines import build_pipeline, load_pipeline
from rerank_plugin.results import SearchResult
from rerank_plugin.search import Searcher

Source = str | Path | Pipeline | dict[str, Any]


class OpenPipeline:
    """
    A pipeline that searches.

    :param source: Name of a packaged pipeline, path of a YAML file, a pipeline, or the dictionary of one.
    :param index: Folder that replaces the path of every document store of ours, if `source` is a name or a file; `None`: no
        replacement.
    :param embedding_model: Hub id or folder that replaces the model of every embedder, if `source` is a name or a file;
        `None`: no replacement.
    :ivar pipeline: The pipeline.
    :raises PipelineConfigError: If it cannot be loaded, or does not search.
    """

    def __init__(self, source: Source, *, index: str | Path | None = None, embedding_model: str | None = None) -> None:
        if isinstance(source, Pipeline):
            self.pipeline = source
        elif isinstance(source, dict):
            self.pipeline = build_pipeline(source, name="the pipeline")
        else:
            self.pipeline = load_pipeline(source, index=index, embedding_model=embedding_model)
        is_named = isinstance(source, str | Path)
        self._searcher = Searcher(self.pipeline, name=f"pipeline {source}" if is_named else "the pipeline")
        self._fields: list[Field] | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """
        Open the index and load the models.

        :raises StoreError: If the index is empty.
        """
        self._searcher.warm_up()

    def search(self, query: str, **parameters: Any) -> SearchResult:
        """
        Run a query.

        :param query: The query.
        :param parameters: See `Searcher.search`.
        :returns: The hits.
        """
        return self._searcher.search(query, **parameters)

    def document(self, document_id: str) -> Document:
        """
        Return a document by its id.

        :param document_id: The id.
        :raises InvalidValueError: If there is none.
        """
        found = self.store.filter_documents({"field": "id", "operator": "==", "value": document_id})
        if not found:
            raise InvalidValueError(f"there is no document {document_id!r}: pass an id from the result of a search")
        document: Document = found[0]
        return document

    @property
    def fields(self) -> list[Field]:
        """The metadata fields of the index, as they were when they were first asked for."""
        with self._lock:
            if self._fields is None:
                self._fields = fields_of(self.store)
            return self._fields

    @property
    def store(self) -> Any:
        """
        The document store.

        :raises StoreError: If the pipeline has none.
        """
        stores = self._searcher.document_stores
        if not stores:
            raise StoreError("the pipeline has no component with a document store: documents cannot be fetched by id")
        return stores[0]
