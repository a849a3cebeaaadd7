"""Text Embeddings Inference: `texts` in, a bare list out."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from rerank_plugin.serving.dialects.dialect import Call, Dialect, Outcome, QueryBody, Text, count_or_all
from rerank_plugin.serving.engine import RankRequest
from rerank_plugin.serving.problems import Problem

# Its types of errors, and the status that goes with each.
ERRORS = {
    "invalid": ("Validation", 422),
    "too_long": ("Validation", 422),
    "empty": ("Empty", 400),
    "overloaded": ("Overloaded", 429),
    "model": ("Backend", 424),
    "internal": ("Backend", 424),
    "unavailable": ("Unhealthy", 503),
}


class TEIBody(QueryBody):
    """A request to `/rerank`. `top_n` is not TEI's, but LiteLLM sends it, and does not cut the answer itself."""

    texts: list[Text]
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None
    raw_scores: bool | None = None
    return_text: bool | None = None
    top_n: int | None = None


class TEI(Dialect[TEIBody]):
    """`POST /rerank` with `texts`. They are read whole; `truncate: false` refuses a query that cannot be."""

    name = "tei"
    body = TEIBody
    example: ClassVar[Mapping[str, Any]] = {
        "query": "What is the capital of France?",
        "texts": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "raw_scores": False,
        "return_text": False,
    }

    def call(self, body: TEIBody) -> Call:
        """Return what a request asks for."""
        request = RankRequest(
            query=body.query,
            texts=body.texts,
            top_n=count_or_all(body.top_n, "top_n"),
            raw_scores=bool(body.raw_scores),
            time_budget_ms=body.time_budget_ms,
            refuses_long_query=body.truncate is False,
        )
        return Call([request])

    def answer(self, body: TEIBody, outcome: Outcome) -> Any:
        """Return the answer."""
        return [
            {"index": text.index, "score": text.score, **({"text": body.texts[text.index]} if body.return_text else {})}
            for text in outcome.result.ranked
        ]

    def error(self, problem: Problem) -> tuple[int, Any]:
        """Return the status of an error, and its body, whose `error` is a text."""
        kind, status = ERRORS.get(problem.kind, ("Validation", problem.status))
        return status, {"error": problem.message, "error_type": kind, "message": problem.message}
