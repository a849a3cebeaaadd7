"""Voyage's rerank."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rerank_plugin.serving.dialects.dialect import (
    Call,
    Dialect,
    Outcome,
    QueryBody,
    Text,
    count_or_all,
    results_of,
    status_of,
)
from rerank_plugin.serving.engine import RankRequest


class VoyageBody(QueryBody):
    """A request with `top_k` or `truncation`."""

    documents: list[Text]
    top_k: int | None = None
    return_documents: bool | None = None
    truncation: bool | None = None


class Voyage(Dialect[VoyageBody]):
    """`POST {base}/rerank`. Documents are read whole; `truncation: false` refuses a query that cannot be."""

    name = "voyage"
    body = VoyageBody
    example: ClassVar[Mapping[str, Any]] = {
        "model": "rerank-2.5",
        "query": "What is the capital of France?",
        "documents": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "top_k": 1,
        "truncation": True,
    }

    def call(self, body: VoyageBody) -> Call:
        """Return what a request asks for."""
        request = RankRequest(
            query=body.query,
            texts=body.documents,
            top_n=count_or_all(body.top_k, "top_k"),
            time_budget_ms=body.time_budget_ms,
            refuses_long_query=body.truncation is False,
        )
        return Call([request])

    def answer(self, body: VoyageBody, outcome: Outcome) -> Any:
        """Return the answer."""
        return {
            "object": "list",
            "data": results_of(outcome, body.documents if body.return_documents else None),
            "model": outcome.model,
            "usage": {"total_tokens": outcome.tokens},
            "status": status_of(outcome),
        }
