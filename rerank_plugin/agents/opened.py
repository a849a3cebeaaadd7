"""A pipeline that is searched on behalf of a language model: with or without its second stage, and its documents by id."""

import threading
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from haystack import Document, Pipeline

from rerank_plugin.agents.filters import Field, fields_of
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.pipelines import build_pipeline, read_pipeline
from rerank_plugin.pipelines.first_stage import without_ranker
from rerank_plugin.results import SearchResult
from rerank_plugin.search import Searcher

Source = str | Path | Pipeline | dict[str, Any]


class OpenPipeline:
    """
    A pipeline that searches.

    :param source: Name of a packaged pipeline, path of a YAML file, a pipeline, or the dictionary of one.
    :param index: Folder that replaces the path of every document store of ours; `None`: no replacement.
    :param embedding_model: Hub id or folder that replaces the model of every embedder; `None`: no replacement.
    :ivar pipeline: The pipeline.
    :raises PipelineConfigError: If it cannot be loaded.
    """

    def __init__(
        self, source: Source, *, index: str | Path | None = None, embedding_model: str | None = None
    ) -> None:
        if isinstance(source, Pipeline):
            self._data: dict[str, Any] | None = None
            self.pipeline, self._name = source, "the pipeline"
        elif isinstance(source, dict):
            self._data, self._name = source, "the pipeline"
            self.pipeline = build_pipeline(source, name=self._name)
        else:
            self._data, self._name = read_pipeline(source, index=index, embedding_model=embedding_model), str(source)
            self.pipeline = build_pipeline(self._data, name=self._name)
        self._searcher = Searcher(self.pipeline)
        self._first_stage: Searcher | None = None
        self._fields: list[Field] | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """
        Open the index and load the models.

        :raises StoreError: If the index is empty.
        """
        self._searcher.warm_up()

    def search(self, query: str, *, rerank: bool = True, **parameters: Any) -> SearchResult:
        """
        Run a query.

        :param query: The query.
        :param rerank: Whether the second stage runs, if the pipeline has one.
        :param parameters: See `Searcher.search`.
        :returns: The hits.
        """
        if rerank or not self._searcher.has_second_stage:
            return self._searcher.search(query, **parameters)
        with self._lock:
            if self._first_stage is None:
                self._first_stage = Searcher(build_pipeline(without_ranker(self.to_dict()), name=self._name))
                self._first_stage.warm_up()
        return self._first_stage.search(query, **parameters)

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
        store = next(_stores(self.pipeline), None)
        if store is None:
            raise StoreError("the pipeline has no component with a document store: documents cannot be fetched by id")
        return store

    def to_dict(self) -> dict[str, Any]:
        """Return the pipeline as plain values."""
        return deepcopy(self._data) if self._data is not None else self.pipeline.to_dict()


def _stores(pipeline: Pipeline) -> Iterator[Any]:
    """Yield the document stores of a pipeline and of the pipelines within its super components."""
    for _, component in pipeline.walk():
        store = getattr(component, "document_store", None)
        if store is not None:
            yield store
        inner = getattr(component, "pipeline", None)
        if isinstance(inner, Pipeline):
            yield from _stores(inner)
