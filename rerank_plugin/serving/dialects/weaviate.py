"""The inference container of Weaviate's module reranker-transformers."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rerank_plugin.serving.dialects.dialect import Call, Dialect, Outcome, QueryBody, Text, status_of
from rerank_plugin.serving.engine import RankRequest
from rerank_plugin.serving.problems import Problem


class WeaviateBody(QueryBody):
    """A request with `documents` and `property`."""

    documents: list[Text]
    property: str | None = None


class Weaviate(Dialect[WeaviateBody]):
    """`POST /rerank` with `property`: every document with its score, in the order of the request."""

    name = "weaviate"
    body = WeaviateBody
    example: ClassVar[Mapping[str, Any]] = {
        "query": "What is the capital of France?",
        "documents": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "property": "",
    }

    def call(self, body: WeaviateBody) -> Call:
        """Return what a request asks for."""
        return Call([RankRequest(body.query, body.documents, time_budget_ms=body.time_budget_ms)])

    def answer(self, body: WeaviateBody, outcome: Outcome) -> Any:
        """Return the answer."""
        in_order = sorted(outcome.result.ranked, key=lambda text: text.index)
        return {
            "query": body.query,
            "scores": [{"document": body.documents[text.index], "score": text.score} for text in in_order],
            "status": status_of(outcome),
        }

    def error(self, problem: Problem) -> tuple[int, Any]:
        """Return the status of an error, and its body, whose `error` is a text."""
        return problem.status, {"error": problem.message}
