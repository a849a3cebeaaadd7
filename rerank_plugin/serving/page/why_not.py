"""Why a document is not among the hits: where it stands at each stage, and what the cross-encoder thinks of it."""

import threading
from functools import partial
from typing import Any

from pydantic import Field

from rerank_plugin.components.inputs import passage_of
from rerank_plugin.pipelines import build_pipeline
from rerank_plugin.search import RANKER, STAGES, Searcher
from rerank_plugin.serving.page.hits import passage
from rerank_plugin.serving.page.search import PageSearch, VariantBody
from rerank_plugin.serving.page.variants import Variants
from rerank_plugin.serving.search_service import SearchBody, SearchService, search_with, without_ranker

# How deep the rank of a document is looked for.
DEPTH = 1000


class WhyNotBody(VariantBody):
    """A question for a document."""

    query: str = Field(min_length=1)
    document_id: str
    filters: dict[str, Any] | None = None


class FindBody(VariantBody):
    """Words of a document that a visitor misses."""

    query: str = Field(min_length=1)


class WhyNot:
    """
    Looks documents up at each stage.

    :param service: Has the pipelines, and the threads.
    :param variants: Their variants.
    :param searches: Knows which variant a request means, and reads documents.
    """

    def __init__(self, service: SearchService, variants: Variants, searches: PageSearch) -> None:
        self._service, self._variants, self._searches = service, variants, searches
        self._lock = threading.Lock()
        self._stages: dict[tuple[str, str], Searcher] = {}

    async def find(self, body: FindBody) -> dict[str, Any]:
        """Return documents for the words, or the id, that a visitor typed: the first stage's best."""
        return {"documents": await self._service.run(partial(self._find, body))}

    async def explain(self, body: WhyNotBody) -> dict[str, Any]:
        """
        Return where a document stands: its rank at each part of the first stage, whether the filters let it through, and
        its probability by the cross-encoder.
        """
        return await self._service.run(partial(self._explain, body))

    def _find(self, body: FindBody) -> list[dict[str, Any]]:
        name = self._service.checked_name(body.pipeline)
        known = self._service.store.filter_documents({"field": "id", "operator": "==", "value": body.query})
        searcher = self._service.searcher(name, rerank=False)
        hits = search_with(searcher, SearchBody(query=body.query, top_k=8, collapse=False)).hits
        return [passage(document) for document in [*known, *(hit.document for hit in hits)][:8]]

    def _explain(self, body: WhyNotBody) -> dict[str, Any]:
        variant = self._searches.variant(body)
        (document,) = self._searches.documents([body.document_id])
        prepared = self._variants.get(variant)
        text = document.content or ""
        if prepared.ranker is not None:
            text = passage_of(document, prepared.ranker.config)
        probabilities = prepared.probabilities(body.query, [text])
        return {
            "document": passage(document),
            "passes_filters": self._passes(body),
            "depth": DEPTH,
            "stages": [
                self._place(variant.pipeline, stage, body)
                for stage in STAGES
                if stage != RANKER and stage in self._service.definition(variant.pipeline)["components"]
            ],
            "probability": None if probabilities is None else probabilities[0],
        }

    def _passes(self, body: WhyNotBody) -> bool:
        if not body.filters:
            return True
        named = {"field": "id", "operator": "==", "value": body.document_id}
        both = {"operator": "AND", "conditions": [body.filters, named]}
        return bool(self._service.store.filter_documents(both))

    def _place(self, pipeline: str, stage: str, body: WhyNotBody) -> dict[str, Any]:
        request = SearchBody(query=body.query, filters=body.filters, candidates=DEPTH, top_k=DEPTH)
        hits = search_with(self._searcher(pipeline, stage), request).hits
        found = next((hit for hit in hits if hit.document.id == body.document_id), None)
        parameters = self._service.definition(pipeline)["components"][stage].get("init_parameters") or {}
        return {
            "stage": stage,
            "rank": None if found is None else found.rank,
            "score": None if found is None else found.document.score,
            "passes_on": parameters.get("top_k"),
        }

    def _searcher(self, pipeline: str, stage: str) -> Searcher:
        with self._lock:
            if (pipeline, stage) not in self._stages:
                data = self._service.definition(pipeline)
                parts = without_ranker(data) if RANKER in data["components"] else data
                searcher = Searcher(build_pipeline(parts, name=pipeline), result_of=stage)
                searcher.warm_up()
                self._stages[pipeline, stage] = searcher
            return self._stages[pipeline, stage]
