"""Why a document is not among the hits: where it stands at each stage, and what the cross-encoder thinks of it."""

from functools import partial
from typing import Any

from pydantic import Field

from rerank_plugin.components.inputs import passage_of
from rerank_plugin.pipelines.sockets import Socket
from rerank_plugin.search import Searcher
from rerank_plugin.serving.page.hits import passage
from rerank_plugin.serving.page.search import PageSearch, VariantBody
from rerank_plugin.serving.page.variants import Variants
from rerank_plugin.serving.search_service import SearchBody, SearchService, search_with

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
        request = SearchBody(query=body.query, top_k=8, collapse=False, rerank=False)
        hits = search_with(self._service.searcher(name), request).hits
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
                for stage in self._service.searcher(variant.pipeline).shape.first_stage
            ],
            "probability": None if probabilities is None else probabilities[0],
        }

    def _passes(self, body: WhyNotBody) -> bool:
        if not body.filters:
            return True
        named = {"field": "id", "operator": "==", "value": body.document_id}
        both = {"operator": "AND", "conditions": [body.filters, named]}
        return bool(self._service.store.filter_documents(both))

    def _place(self, pipeline: str, stage: Socket, body: WhyNotBody) -> dict[str, Any]:
        until_there = Searcher(
            self._service.pipeline(pipeline), outputs={"documents": str(stage)}, name=f"pipeline {pipeline}"
        )
        request = SearchBody(query=body.query, filters=body.filters, candidates=DEPTH, top_k=DEPTH)
        hits = search_with(until_there, request).hits
        found = next((hit for hit in hits if hit.document.id == body.document_id), None)
        parameters = self._service.definition(pipeline)["components"][stage.component].get("init_parameters") or {}
        return {
            "stage": stage.component,
            "rank": None if found is None else found.rank,
            "score": None if found is None else found.document.score,
            "passes_on": parameters.get("top_k"),
        }
