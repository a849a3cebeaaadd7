"""The engine of one model in this process: the ranker's own machinery, in threads."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from math import inf

from haystack import Document

from rerank_plugin.checks import check_text
from rerank_plugin.components.answers import Answer
from rerank_plugin.components.config import RankerConfig
from rerank_plugin.components.inputs import Overrides
from rerank_plugin.components.ranking import PARTLY_READ
from rerank_plugin.components.reranker import WINDOW, Reranker
from rerank_plugin.scoring.limits import CallLimits, Usage
from rerank_plugin.scoring.scheduler import Scheduler
from rerank_plugin.scoring.types import ScoringRequest
from rerank_plugin.scoring.work import SharedBatch
from rerank_plugin.serving.admission import Admission
from rerank_plugin.serving.engine import ModelFacts, Ranked, RankRequest, RankResult, Timings, Token
from rerank_plugin.serving.token_limits import TokenLimits, measure
from rerank_plugin.serving.warming import prepare

# Clients of some protocols send any number: one more is one second later in the queue, see `CallLimits`.
MOST_URGENT, LEAST_URGENT = -60, 3600


class LocalEngine:
    """
    Ranks with one model in this process.

    :param config: The ranker's configuration.
    :param admission: Lets requests in; shared with the engines that use the same processors.
    :param token_limits: How long texts may be.
    """

    def __init__(self, config: RankerConfig, *, admission: Admission, token_limits: TokenLimits) -> None:
        self._config = config
        self._reranker = Reranker(config)
        self._admission = admission
        self._token_limits = token_limits
        self._waiting = 0
        self._observers: list[Callable[[SharedBatch], None]] = []
        self._scheduler: Scheduler | None = None
        # One for each request that may wait, as they wait in the queue of the scheduler: one leads, the others sleep.
        self._threads = ThreadPoolExecutor(max_workers=admission.max_requests, thread_name_prefix="rerank-serve")

    @property
    def waiting(self) -> int:
        """Number of requests that wait or are being worked on."""
        return self._waiting

    def observe(self, observer: Callable[[SharedBatch], None]) -> None:
        """Have every scored batch told. See `RankEngine.observe`."""
        self._observers.append(observer)

    async def rank(self, request: RankRequest) -> RankResult:
        """Rank the texts of a request. See `RankEngine.rank`."""
        check_text("query", request.query)
        for position, text in enumerate(request.texts):
            check_text(f"documents[{position}]", text, empty=True)
        deadline = inf if request.time_budget_ms is None else request.time_budget_ms / 1000
        expected = self._reranker.expected_seconds(request.query, request.texts)
        with self._admission.admit(expected, deadline=deadline) as usage:
            stopped = threading.Event()
            work = partial(self._work, request, time.perf_counter(), stopped.is_set, usage)
            self._waiting += 1
            try:
                return await asyncio.wrap_future(self._threads.submit(work))
            finally:
                self._waiting -= 1
                stopped.set()

    async def tokenize(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[Token]]:
        """Tokenise texts. See `RankEngine.tokenize`."""
        with self._admission.admit():
            work = partial(self._tokenize, texts, add_special_tokens=add_special_tokens)
            return await asyncio.wrap_future(self._threads.submit(work))

    def warm_up(self) -> ModelFacts:
        """Load the model and prepare it. See `RankEngine.warm_up`."""
        with self._reranker.scorer() as scorer:
            self._scheduler = scorer.scheduler
            for observer in self._observers:
                self._scheduler.observe(observer)
            scorer.prepare()
            # Before requests that have come already: each of them would prepare its own shape, at its client's cost.
            prepare(lambda query, texts: scorer.score([ScoringRequest(query, texts)], CallLimits(priority=MOST_URGENT)))
            return ModelFacts(
                model=self._config.model,
                backend=scorer.backend_name,
                precision=scorer.backend.precision,
                max_length=scorer.tokenizer.input_spec.max_length,
                max_waiting=self._admission.max_requests,
            )

    def close(self) -> None:
        """Wait for the running calls, and release the model."""
        self._threads.shutdown()
        if self._scheduler is not None:  # it outlives the engine: other models of the process use it
            for observer in self._observers:
                self._scheduler.forget(observer)
        self._reranker.close()

    def _work(self, request: RankRequest, arrived: float, should_stop: Callable[[], bool], usage: Usage) -> RankResult:
        began = time.perf_counter()
        with self._reranker.scorer() as scorer:
            measured = measure(request, scorer, self._token_limits)
        tokenized = time.perf_counter()
        # The ranker orders equal scores by id: by these ids, that is the order of the request.
        documents = [Document(id=f"{position:012d}", content=text) for position, text in enumerate(measured.texts)]
        overrides = Overrides(
            top_k=max(1, len(documents)),
            scale_score=not request.raw_scores,
            time_budget_ms=request.time_budget_ms,
            priority=min(max(request.priority, MOST_URGENT), LEAST_URGENT),
        )
        (answer,) = self._reranker.answer(
            [measured.query],
            [documents],
            overrides,
            began=arrived,
            should_stop=should_stop,
            usage=usage,
            due=self._admission.max_wait,
        )
        timings = Timings(began - arrived, tokenized - began, time.perf_counter() - tokenized)
        return replace(
            _result(answer, raw_scores=request.raw_scores, top_n=request.top_n),
            tokens=measured.tokens,
            timings=timings,
            warnings=measured.warnings,
        )

    def _tokenize(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[Token]]:
        with self._reranker.scorer() as scorer:
            encodings = [scorer.tokenizer.encoding(text, add_special_tokens=add_special_tokens) for text in texts]
        return [
            [
                Token(number, token, bool(special), None if special else span[0], None if special else span[1])
                for number, token, special, span in zip(
                    encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True
                )
            ]
            for encoding in encodings
        ]


def _result(answer: Answer, *, raw_scores: bool, top_n: int | None) -> RankResult:
    documents, status = answer["documents"], answer["status"]
    is_partial = status["state"] == "partial" or any(document.meta.get(PARTLY_READ) for document in documents)
    known = [document.score for document in documents if document.score is not None]
    # Every client wants a number for every text: those without a score are last, so theirs is below all others.
    least = min(known, default=0.0) - 1.0 if raw_scores else 0.0
    ranked = [
        Ranked(
            index=int(document.id),
            score=least if document.score is None else document.score,
            is_scored=document.score is not None,
            window=tuple(document.meta[WINDOW]) if WINDOW in document.meta else None,
        )
        for document in documents
    ]
    return RankResult(
        ranked=ranked[:top_n],
        state="partial" if is_partial and status["state"] == "complete" else status["state"],
        scored=status["scored"],
        cached=status["cached"],
    )
