"""Jina's rerank, which is also that of llama.cpp, Open WebUI, LiteLLM and others: the answer when nothing else is said."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rerank_plugin.serving.dialects.dialect import (
    Call,
    Dialect,
    Outcome,
    QueryBody,
    TextOrObject,
    as_objects,
    count_or_all,
    results_of,
    status_of,
    texts_of,
)
from rerank_plugin.serving.engine import RankRequest


class JinaBody(QueryBody):
    """A request with `documents` and no key that tells another protocol."""

    documents: list[TextOrObject]
    top_n: int | None = None
    return_documents: bool | None = None


class Jina(Dialect[JinaBody]):
    """`POST /v1/rerank`, `/rerank`, `/reranking`, `/v1/reranking`: documents come back unless they are declined."""

    name = "jina"
    body = JinaBody
    example: ClassVar[Mapping[str, Any]] = {
        "model": "jina-reranker-v3",
        "query": "What is the capital of France?",
        "documents": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "top_n": 2,
        "return_documents": False,
    }

    def call(self, body: JinaBody) -> Call:
        """Return what a request asks for."""
        top_n = count_or_all(body.top_n, "top_n")
        return Call([RankRequest(body.query, texts_of(body.documents), top_n, time_budget_ms=body.time_budget_ms)])

    def answer(self, body: JinaBody, outcome: Outcome) -> Any:
        """Return the answer."""
        documents = None if body.return_documents is False else as_objects(body.documents)
        return {
            "id": outcome.request_id,
            "object": "list",
            "model": outcome.model,
            "results": results_of(outcome, documents),
            "usage": {"total_tokens": outcome.tokens, "prompt_tokens": outcome.tokens},
            "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": outcome.tokens}},
            "status": status_of(outcome),
        }
