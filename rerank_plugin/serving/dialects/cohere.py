"""Cohere's rerank, versions 1 and 2."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from rerank_plugin.serving.dialects.dialect import (
    Call,
    Dialect,
    Outcome,
    QueryBody,
    Text,
    TextOrObject,
    as_objects,
    count_or_all,
    results_of,
    status_of,
    texts_of,
)
from rerank_plugin.serving.engine import RankRequest
from rerank_plugin.serving.spans import SpanRequest

# A search unit is one query with up to a hundred documents.
DOCUMENTS_PER_UNIT = 100


class RelevantSpans(BaseModel):
    """Whether, and which, parts of the documents are to be pointed out."""

    mode: Literal["enabled", "disabled"] = "enabled"
    threshold: float = 0.1
    max_spans: int | None = Field(default=None, ge=1)


class CohereV2Body(QueryBody):
    """A request to `/v2/rerank`. `return_documents` is not Cohere's, but LiteLLM sends it."""

    documents: list[TextOrObject]
    top_n: int | None = None
    max_tokens_per_doc: int | None = Field(default=None, ge=1)
    priority: int | None = None
    return_documents: bool | None = None
    relevant_spans: RelevantSpans | None = None


class CohereV1Body(QueryBody):
    """A request to `/v1/rerank` with what only Cohere has: fields that are read, or a limit of chunks."""

    documents: list[TextOrObject]
    top_n: int | None = None
    rank_fields: list[Text] | None = None
    return_documents: bool | None = None
    max_chunks_per_doc: int | None = None


class CohereV2(Dialect[CohereV2Body]):
    """`POST /v2/rerank`."""

    name = "cohere_v2"
    body = CohereV2Body
    example: ClassVar[Mapping[str, Any]] = {
        "model": "rerank-v4.0",
        "query": "What is the capital of France?",
        "documents": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "top_n": 1,
        "relevant_spans": {"mode": "enabled"},
    }

    def call(self, body: CohereV2Body) -> Call:
        """Return what a request asks for."""
        request = RankRequest(
            query=body.query,
            texts=texts_of(body.documents),
            top_n=count_or_all(body.top_n, "top_n"),
            time_budget_ms=body.time_budget_ms,
            priority=body.priority or 0,
            max_tokens_per_text=body.max_tokens_per_doc,
        )
        wanted = body.relevant_spans
        if wanted is None or wanted.mode == "disabled":
            return Call([request])
        return Call([request], SpanRequest(wanted.threshold, wanted.max_spans))

    def answer(self, body: CohereV2Body, outcome: Outcome) -> Any:
        """Return the answer."""
        results = results_of(outcome, as_objects(body.documents) if body.return_documents else None)
        for result in results:
            if result["index"] in outcome.spans:
                result["relevant_spans"] = [vars(span) for span in outcome.spans[result["index"]]]
        return cohere_answer(results, outcome, version="2", documents=len(body.documents))


class CohereV1(Dialect[CohereV1Body]):
    """`POST /v1/rerank`, where the request has a key that only Cohere knows."""

    name = "cohere_v1"
    body = CohereV1Body
    example: ClassVar[Mapping[str, Any]] = {
        "query": "What is the capital of France?",
        "documents": [{"title": "Paris", "text": "The capital of France."}, {"title": "Tea", "text": "A drink."}],
        "rank_fields": ["title", "text"],
        "return_documents": True,
    }

    def call(self, body: CohereV1Body) -> Call:
        """Return what a request asks for. Documents are read whole, however many chunks that takes."""
        texts = texts_of(body.documents, body.rank_fields)
        top_n = count_or_all(body.top_n, "top_n")
        return Call([RankRequest(body.query, texts, top_n, time_budget_ms=body.time_budget_ms)])

    def answer(self, body: CohereV1Body, outcome: Outcome) -> Any:
        """Return the answer."""
        results = results_of(outcome, as_objects(body.documents) if body.return_documents else None)
        return cohere_answer(results, outcome, version="1", documents=len(body.documents))


def cohere_answer(results: list[dict[str, Any]], outcome: Outcome, *, version: str, documents: int) -> dict[str, Any]:
    """
    Return an answer in Cohere's shape.

    :param results: The results, best first.
    :param outcome: What they were made of.
    :param version: The version of the protocol.
    :param documents: Number of documents in the request.
    """
    meta: dict[str, Any] = {
        "api_version": {"version": version},
        "billed_units": {"search_units": max(1, -(-documents // DOCUMENTS_PER_UNIT))},
        "tokens": {"input_tokens": outcome.tokens},
    }
    warnings = list(outcome.warnings)
    if outcome.state != "complete":
        warnings.append(f"the result is {outcome.state}: {outcome.scored} of {documents} documents were scored")
    if warnings:
        meta["warnings"] = warnings
    return {
        "id": outcome.request_id,
        "model": outcome.model,
        "results": results,
        "meta": meta,
        "status": status_of(outcome),
    }
