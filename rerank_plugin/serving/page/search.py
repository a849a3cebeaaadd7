"""The page's searches: every candidate of the first stage, with its place before and after the second."""

from functools import partial
from typing import Any, Literal

from haystack import Document
from pydantic import BaseModel, Field

from rerank_plugin.checks import shown
from rerank_plugin.scoring.fusion import Fusion
from rerank_plugin.serving.page.hits import page_hit
from rerank_plugin.serving.page.passages import MOST_CHARACTERS, best_sentences, word_finder
from rerank_plugin.serving.page.variants import Prepared, Variant, Variants
from rerank_plugin.serving.problems import RequestError
from rerank_plugin.serving.search_service import SearchBody, SearchService, search_with

# More than any pipeline passes on to its second stage, so that all of them are returned.
EVERY_CANDIDATE = 1000
# Hits of a pipeline without a second stage: enough to see where those of another one beside it stand.
HITS_OF_ONE_STAGE = 100


class VariantBody(BaseModel):
    """The part of a request that says which pipeline is meant."""

    pipeline: str | None = None
    fusion: Fusion | None = None
    precision: Literal["fp32", "bf16", "fp16", "int8"] | None = None


class PageSearchBody(SearchBody, VariantBody):
    """A search of the page: that of the API, and how the ranker is to be changed."""


class SentencesBody(VariantBody):
    """A request for the best sentences of hits."""

    query: str = Field(min_length=1)
    ids: list[str] = Field(max_length=50)


class PageSearch:
    """
    Runs the searches of the page.

    :param service: Has the pipelines, and the threads.
    :param variants: Their variants.
    """

    def __init__(self, service: SearchService, variants: Variants) -> None:
        self._service, self._variants = service, variants

    def variant(self, body: VariantBody) -> Variant:
        """Return which pipeline a request means."""
        return Variant(self._service.checked_name(body.pipeline), body.fusion, body.precision)

    async def search(self, body: PageSearchBody) -> dict[str, Any]:
        """
        Search, and return all candidates with their ranks at both stages.

        :param body: The request. `top_k` is that of the visitor's list; the page is given the candidates behind it, too.
        :raises RequestError: If a value cannot be used.
        """
        variant = self.variant(body)
        return await self._service.run(partial(self._search, variant, body))

    async def sentences(self, body: SentencesBody) -> dict[str, Any]:
        """Return where the best sentence of each document is, by its id."""
        variant = self.variant(body)
        return {"sentences": await self._service.run(partial(self._sentences, variant, body))}

    def documents(self, ids: list[str]) -> list[Document]:
        """
        Read documents.

        :param ids: Their ids.
        :returns: The documents, in the order of the ids.
        :raises RequestError: If one does not exist.
        """
        found = self._service.store.filter_documents({"field": "id", "operator": "in", "value": ids})
        by_id: dict[str, Document] = {document.id: document for document in found}
        missing = [name for name in ids if name not in by_id]
        if missing:
            raise RequestError(f"there is no document {shown(missing[0])}: search again", status=404, kind="not_found")
        return [by_id[name] for name in ids]

    def _search(self, variant: Variant, body: PageSearchBody) -> dict[str, Any]:
        if self._service.may_be_empty and not self._service.store.count_documents():
            raise RequestError("the index is still empty: add documents first", status=409, kind="empty")
        prepared = self._variants.get(variant)
        is_reranked = body.rerank and prepared.searcher.has_second_stage
        ranker = prepared.ranker if is_reranked else None
        result = search_with(prepared.searcher, body, top_k=_hits_wanted(body, prepared))
        find_words = word_finder(body.query, self._service.store)
        return {
            "pipeline": variant.pipeline,
            "query": body.query,
            "hits": [page_hit(hit, ranker, find_words) for hit in result.hits],
            "has_second_stage": is_reranked,
            "is_calibrated": is_reranked and prepared.is_calibrated,
            "collapsed": result.collapsed,
            "over_limit": result.over_limit,
            "milliseconds": result.milliseconds,
            "status": result.status,
        }

    def _sentences(self, variant: Variant, body: SentencesBody) -> dict[str, Any]:
        documents = self.documents(body.ids)
        texts = [(document.content or "")[:MOST_CHARACTERS] for document in documents]
        spans = best_sentences(body.query, texts, self._variants.get(variant))
        return {document.id: span for document, span in zip(documents, spans, strict=True)}


def _hits_wanted(body: PageSearchBody, prepared: Prepared) -> int | None:
    if body.rerank and prepared.hides_candidates:
        return body.top_k
    has_two = body.rerank and prepared.searcher.has_second_stage
    least = EVERY_CANDIDATE if has_two else HITS_OF_ONE_STAGE
    return max(body.candidates or 0, body.top_k or 0, least)
