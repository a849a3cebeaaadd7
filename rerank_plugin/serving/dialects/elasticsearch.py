"""A custom inference service of Elasticsearch, task type `rerank`."""

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


class ElasticsearchBody(QueryBody):
    """A request with `input`."""

    input: Text | list[Text]
    top_n: int | None = None
    return_documents: bool | None = None
    task_settings: dict[str, Any] | None = None

    @property
    def texts(self) -> list[str]:
        """The texts; a single one may come without a list."""
        return self.input if isinstance(self.input, list) else [self.input]


class Elasticsearch(Dialect[ElasticsearchBody]):
    """`POST /rerank` with `input`."""

    name = "elasticsearch"
    body = ElasticsearchBody
    example: ClassVar[Mapping[str, Any]] = {
        "query": "What is the capital of France?",
        "input": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "task_settings": {"top_n": 1},
    }

    def call(self, body: ElasticsearchBody) -> Call:
        """Return what a request asks for."""
        of_task = (body.task_settings or {}).get("top_n")
        top_n = body.top_n if body.top_n is not None or not isinstance(of_task, int) else of_task
        return Call([RankRequest(body.query, body.texts, count_or_all(top_n, "top_n"), time_budget_ms=body.time_budget_ms)])

    def answer(self, body: ElasticsearchBody, outcome: Outcome) -> Any:
        """Return the answer."""
        wants_texts = body.return_documents or bool((body.task_settings or {}).get("return_documents"))
        ranked = results_of(outcome)
        if wants_texts:
            for result in ranked:
                result["text"] = body.texts[result["index"]]
        return {"rerank": ranked, "status": status_of(outcome)}
