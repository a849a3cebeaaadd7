"""Infinity's rerank, whose documents come back as plain texts."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from rerank_plugin.serving.dialects.dialect import (
    Call,
    Dialect,
    Outcome,
    QueryBody,
    Text,
    count_or_all,
    error_body,
    results_of,
    status_of,
)
from rerank_plugin.serving.engine import RankRequest
from rerank_plugin.serving.problems import Problem


class InfinityBody(QueryBody):
    """A request to `/infinity/rerank`, or one with `raw_scores`."""

    documents: list[Text]
    return_documents: bool | None = None
    raw_scores: bool | None = None
    top_n: int | None = None


class Infinity(Dialect[InfinityBody]):
    """`POST /infinity/rerank`, and `/rerank` with `raw_scores`."""

    name = "infinity"
    body = InfinityBody
    example: ClassVar[Mapping[str, Any]] = {
        "query": "What is the capital of France?",
        "documents": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "raw_scores": False,
        "return_documents": False,
    }

    def call(self, body: InfinityBody) -> Call:
        """Return what a request asks for."""
        request = RankRequest(
            query=body.query,
            texts=body.documents,
            top_n=count_or_all(body.top_n, "top_n"),
            raw_scores=bool(body.raw_scores),
            time_budget_ms=body.time_budget_ms,
        )
        return Call([request])

    def answer(self, body: InfinityBody, outcome: Outcome) -> Any:
        """Return the answer."""
        return {
            "object": "rerank",
            "results": results_of(outcome, body.documents if body.return_documents else None),
            "model": outcome.model,
            "usage": {"prompt_tokens": outcome.tokens, "total_tokens": outcome.tokens},
            "id": outcome.request_id,
            "created": int(time.time()),
            "status": status_of(outcome),
        }

    def error(self, problem: Problem) -> tuple[int, Any]:
        """Return the status of an error, and its body: a wrong value is a 422 with a list as `detail`, as FastAPI has it."""
        if problem.kind not in ("invalid", "empty", "too_long"):
            return problem.status, error_body(problem)
        place = ["body", *([problem.param] if problem.param else [])]
        return 422, {**error_body(problem), "detail": [{"loc": place, "msg": problem.message, "type": "value_error"}]}
