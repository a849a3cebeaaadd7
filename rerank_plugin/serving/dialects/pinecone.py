"""Pinecone's rerank."""

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
from rerank_plugin.serving.problems import RequestError


class PineconeBody(QueryBody):
    """A request to `/pinecone/rerank`, or one with the header `X-Pinecone-API-Version`."""

    documents: list[TextOrObject]
    top_n: int | None = None
    return_documents: bool | None = None
    rank_fields: list[str] | None = None
    parameters: dict[str, Any] | None = None


class Pinecone(Dialect[PineconeBody]):
    """`POST /pinecone/rerank`."""

    name = "pinecone"
    body = PineconeBody
    example: ClassVar[Mapping[str, Any]] = {
        "model": "bge-reranker-v2-m3",
        "query": "What is the capital of France?",
        "documents": [{"id": "a", "text": "Paris is the capital of France."}, {"id": "b", "text": "Tea is a drink."}],
        "top_n": 1,
        "rank_fields": ["text"],
    }

    def call(self, body: PineconeBody) -> Call:
        """Return what a request asks for. `parameters.truncate: NONE` refuses a query that cannot be read whole."""
        truncate = (body.parameters or {}).get("truncate")
        if truncate not in (None, "END", "NONE"):
            raise RequestError("parameters.truncate must be END or NONE", param="parameters")
        request = RankRequest(
            query=body.query,
            texts=texts_of(body.documents, body.rank_fields),
            top_n=count_or_all(body.top_n, "top_n"),
            time_budget_ms=body.time_budget_ms,
            refuses_long_query=truncate == "NONE",
        )
        return Call([request])

    def answer(self, body: PineconeBody, outcome: Outcome) -> Any:
        """Return the answer."""
        data = results_of(outcome, None if body.return_documents is False else as_objects(body.documents), score="score")
        return {"model": outcome.model, "data": data, "usage": {"rerank_units": 1}, "status": status_of(outcome)}
