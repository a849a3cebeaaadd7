"""vLLM's rerank and score."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from rerank_plugin.serving.dialects.dialect import (
    Body,
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
from rerank_plugin.serving.engine import RankRequest, RankResult
from rerank_plugin.serving.problems import RequestError

# Queries of a score request; each is scored with its own text.
MOST_QUERIES = 1000


class _Options(Body):
    """What both kinds of requests may have. -1 and 0 mean: no limit."""

    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)
    use_activation: bool | None = None
    activation: bool | None = None
    softmax: bool | None = None
    max_tokens_per_query: int | None = Field(default=None, ge=0)
    max_tokens_per_doc: int | None = Field(default=None, ge=0)
    priority: int | None = None

    def request(self, query: str, texts: list[str], top_n: int | None = None) -> RankRequest:
        """Return what is to be ranked."""
        prompt = self.truncate_prompt_tokens
        activation = next((flag for flag in (self.use_activation, self.activation) if flag is not None), True)
        return RankRequest(
            query=query,
            texts=texts,
            top_n=top_n,
            raw_scores=not activation,
            time_budget_ms=self.time_budget_ms,
            priority=self.priority or 0,
            max_tokens_per_text=self.max_tokens_per_doc or None,
            max_tokens_per_pair=prompt if prompt is not None and prompt > 0 else None,
            max_query_tokens=self.max_tokens_per_query or None,
        )


class VLLMBody(_Options, QueryBody):
    """A request with a key that only vLLM knows."""

    documents: list[TextOrObject]
    top_n: int | None = None


class VLLM(Dialect[VLLMBody]):
    """`POST /rerank`, `/v1/rerank`, `/v2/rerank`: documents always come back."""

    name = "vllm"
    body = VLLMBody
    example: ClassVar[Mapping[str, Any]] = {
        "query": "What is the capital of France?",
        "documents": ["Paris is the capital of France.", "Coffee and tea are drinks."],
        "top_n": 0,
        "use_activation": False,
    }

    def call(self, body: VLLMBody) -> Call:
        """Return what a request asks for."""
        return Call([body.request(body.query, texts_of(body.documents), count_or_all(body.top_n, "top_n"))])

    def answer(self, body: VLLMBody, outcome: Outcome) -> Any:
        """Return the answer."""
        return {
            "id": outcome.request_id,
            "model": outcome.model,
            "usage": _usage(outcome),
            "results": results_of(outcome, as_objects(body.documents)),
            "status": status_of(outcome),
        }


Texts = TextOrObject | list[TextOrObject]


class VLLMScoreBody(_Options):
    """A request to `/score`: one text against many, or as many against as many, under one of four pairs of names."""

    text_1: Texts | None = None
    text_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None

    def sides(self) -> tuple[list[str], list[str]]:
        """
        Return queries and texts.

        :raises RequestError: If they are missing, or their numbers do not fit.
        """
        for first, seconds in (("text_1", ["text_2"]), ("queries", ["documents", "items"]), ("data_1", ["data_2"])):
            for second in seconds:
                left, right = getattr(self, first), getattr(self, second)
                if left is not None and right is not None:
                    return _sides(_list(left), _list(right), first, second)
        raise RequestError("a score request needs text_1 and text_2, or queries and documents", param="text_1")


def _list(value: Texts) -> list[str]:
    return texts_of(value if isinstance(value, list) else [value])


def _sides(queries: list[str], texts: list[str], first: str, second: str) -> tuple[list[str], list[str]]:
    if not queries or not texts:
        raise RequestError(f"{first if not queries else second} is empty", kind="empty", param=second)
    if len(queries) not in (1, len(texts)):
        raise RequestError(
            f"{first} has {len(queries)} texts and {second} has {len(texts)}: send one, or as many", param=first
        )
    if len(queries) > MOST_QUERIES:
        raise RequestError(f"{first} has {len(queries)} texts: send at most {MOST_QUERIES} at once", param=first)
    return queries, texts


class VLLMScore(Dialect[VLLMScoreBody]):
    """`POST /score`, `/v1/score`: the scores in the order of the texts."""

    name = "vllm_score"
    body = VLLMScoreBody
    example: ClassVar[Mapping[str, Any]] = {
        "text_1": "What is the capital of France?",
        "text_2": ["Paris is the capital of France.", "A drink."],
    }

    def call(self, body: VLLMScoreBody) -> Call:
        """Return what a request asks for."""
        queries, texts = body.sides()
        if len(queries) == 1:
            return Call([body.request(queries[0], texts)])
        # Texts of the same query are scored together.
        return Call([body.request(query, [texts[i] for i in places]) for query, places in _groups(queries).items()])

    def answer(self, body: VLLMScoreBody, outcome: Outcome) -> Any:
        """Return the answer."""
        queries, texts = body.sides()
        groups = [list(range(len(texts)))] if len(queries) == 1 else list(_groups(queries).values())
        scores = [0.0] * len(texts)
        for places, result in zip(groups, outcome.results, strict=True):
            for place, score in zip(places, _in_order(result), strict=True):
                scores[place] = score
        return {
            "id": outcome.request_id,
            "object": "list",
            "created": int(time.time()),
            "model": outcome.model,
            "data": [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)],
            "usage": _usage(outcome),
            "status": status_of(outcome),
        }


def _groups(queries: list[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for position, query in enumerate(queries):
        groups.setdefault(query, []).append(position)
    return groups


def _in_order(result: RankResult) -> list[float]:
    return [text.score for text in sorted(result.ranked, key=lambda text: text.index)]


def _usage(outcome: Outcome) -> dict[str, int]:
    return {"prompt_tokens": outcome.tokens, "total_tokens": outcome.tokens}
