"""The first stage for mining and evaluation: a pipeline over the documents of a judged collection."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.evaluation.indexes import kept_index
from rerank_plugin.evaluation.model_files import model_fingerprints
from rerank_plugin.evaluation.run_key import run_key
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.pipelines import load_pipeline, read_pipeline
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.search import Searcher

if TYPE_CHECKING:
    from rerank_plugin.collections.beir import BeirQuery


class Finder(Protocol):
    """Searches a collection."""

    def find(self, query: "BeirQuery", depth: int) -> list[tuple[str, float]]:
        """Return ids of documents in the collection and their scores, best first."""


@dataclass(frozen=True)
class FirstStageSpec:
    """
    A first stage: the pipeline, and the index that it searches.

    :param pipeline: Name or YAML file; with or without a second stage.
    :param language: Language of the keyword index, such as `en` or `ru`.
    :param index: Folder of an index of the collection; `None`: one is built and kept (see `evaluation.indexes`), unless the
        pipeline searches another document store.
    :param embedding_model: Embedding model to use instead of the pipeline's; `None`: the pipeline's.
    """

    pipeline: str = "bm25"
    language: str = "en"
    index: Path | None = None
    embedding_model: str | None = None

    def key(self) -> str:
        """
        Return a key of everything that the search results depend on.

        :returns: The pipeline's name and a hash of its content, its models' files, and the given index.
        :raises PipelineConfigError: If there is no such pipeline.
        """
        content = read_pipeline(self.pipeline, embedding_model=self.embedding_model)
        models = model_fingerprints(content)
        revision = None if self.index is None else _revision(self.index)
        settings = {"pipeline": content, "language": self.language}
        return f"{self.pipeline} {run_key(settings=settings, query=None, models=models, corpus=revision)[:12]}"

    def open(self, collection: Collection, on_progress: ProgressCallback | None = None) -> "FirstStage":
        """
        Load the pipeline, and index the collection if it neither is an index nor has one yet.

        :param collection: The collection.
        :param on_progress: Called while indexing.
        :raises PipelineConfigError: If the pipeline cannot be loaded.
        """
        staged = split_stages(
            self.pipeline, read_pipeline(self.pipeline, index=self.index, embedding_model=self.embedding_model)
        )
        folder = self.index or collection.index
        if folder is None and staged.searches_an_index:
            folder = kept_index(
                collection,
                language=self.language,
                pipelines=[staged],
                embedding_model=self.embedding_model,
                on_progress=counts_of(on_progress, f"Indexing {collection.name}"),
            )
        pipeline = load_pipeline(self.pipeline, index=folder, embedding_model=self.embedding_model)
        # The ranked list as it is measured, not as a user sees it: near duplicates are not collapsed.
        searcher = Searcher(pipeline, until="ranked", name=f"pipeline {self.pipeline}")
        searcher.warm_up()
        return FirstStage(searcher)


class FirstStage:
    """
    Searches a collection.

    :param searcher: The loaded pipeline.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def find(self, query: "BeirQuery", depth: int) -> list[tuple[str, float]]:
        """
        Search for a query.

        :param query: The query.
        :param depth: Maximum number of documents.
        :returns: Ids of documents in the collection, and scores; best first. Empty for an empty query.
        """
        if not query.text.strip():
            return []
        hits = self._searcher.search(query.text, top_k=depth, candidates=depth).hits
        scores: dict[str, float] = {}
        for hit in hits:  # of several passages of a document the first counts
            scores.setdefault(str(hit.document.meta.get("doc_id", hit.document.id)), hit.document.score or 0.0)
        return list(scores.items())


def _revision(index: Path) -> str:
    if not index.is_dir():
        return "missing"  # opening the pipeline reports it
    from rerank_plugin.store import HybridDocumentStore

    store = HybridDocumentStore(index)
    try:
        return store.revision()
    finally:
        store.close()
