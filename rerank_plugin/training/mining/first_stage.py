"""What a pipeline finds in a judged collection: the material of negatives, and of measurements while training."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.evaluation.indexes import kept_index
from rerank_plugin.evaluation.stages import take_apart
from rerank_plugin.pipelines import load_pipeline, read_pipeline
from rerank_plugin.search import Searcher

if TYPE_CHECKING:
    from rerank_plugin.collections.beir import BeirQuery

Announce = Callable[[str, int, int], None]


class FirstStage:
    """
    A pipeline over the documents of a collection. The index is made on first use, and kept (see `evaluation.indexes`).

    :param collection: The collection.
    :param pipeline: Name or YAML file; with or without a second stage.
    :param language: Of the keyword index, such as `en` or `ru`.
    :param index: Folder of an index of the collection; `None`: one is made.
    :param embedding_model: Instead of the pipeline's own.
    :param announce: Called with what is done, how far it is and how much there is.
    :raises PipelineConfigError: If the pipeline cannot be loaded.
    """

    def __init__(
        self,
        collection: Collection,
        pipeline: str = "bm25",
        *,
        language: str = "en",
        index: Path | None = None,
        embedding_model: str | None = None,
        announce: Announce | None = None,
    ) -> None:
        staged = take_apart(pipeline, read_pipeline(pipeline, index=index, embedding_model=embedding_model))
        folder = index or kept_index(
            collection,
            language=language,
            pipelines=[staged],
            embedding_model=embedding_model,
            progress=announced(announce, f"Indexing {collection.name}"),
        )
        self._searcher = Searcher(load_pipeline(pipeline, index=folder, embedding_model=embedding_model))
        self._searcher.warm_up()

    def find(self, query: "BeirQuery", depth: int) -> list[tuple[str, float]]:
        """
        Search.

        :param query: The query.
        :param depth: Most documents.
        :returns: Ids of documents in the collection, and scores; best first. Empty for an empty query.
        """
        if not query.text.strip():
            return []
        hits = self._searcher.search(query.text, top_k=depth, candidates=depth).hits
        found: dict[str, float] = {}
        for hit in hits:
            found.setdefault(str(hit.document.meta.get("doc_id", hit.document.id)), hit.document.score or 0.0)
        return list(found.items())


def fingerprint(pipeline: str, *, language: str, index: Path | None = None, embedding_model: str | None = None) -> str:
    """
    Name a first stage so that another one has another name: by its pipeline's content, and what it searches.

    :param pipeline: See `FirstStage`.
    :param language: See `FirstStage`.
    :param index: See `FirstStage`.
    :param embedding_model: See `FirstStage`.
    """
    content = read_pipeline(pipeline, index=index, embedding_model=embedding_model)
    text = json.dumps([content, language, str(index and index.resolve())], sort_keys=True, default=str)
    return f"{pipeline} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def announced(announce: Announce | None, what: str) -> Callable[[int, int], None]:
    """Give progress a name."""
    return partial(announce or (lambda _what, _done, _total: None), what)
