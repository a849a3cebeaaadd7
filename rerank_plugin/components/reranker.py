"""A ranker's call: check the arguments, score within the limits, rank, and report the status."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from haystack import Document

from rerank_plugin.checks import check_text
from rerank_plugin.components.answers import Answer, State, Status
from rerank_plugin.components.config import RankerConfig
from rerank_plugin.components.engine import Engine, EngineHolder
from rerank_plugin.components.inputs import Overrides, check_documents, deduplicate, passage_of
from rerank_plugin.components.ranking import (
    FIRST_STAGE_RANK,
    RankingRules,
    first_stage_scores,
    keep_order,
    rank_documents,
)
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.languages import LanguageCheck
from rerank_plugin.scoring.limits import CallLimits, ScoringStoppedError, Usage
from rerank_plugin.scoring.second_stage import Scored
from rerank_plugin.scoring.types import ScoringRequest, Window

if TYPE_CHECKING:
    from rerank_plugin.scoring.scorer import PairScorer

logger = logging.getLogger(__name__)

WINDOW = "window"
DEFAULT_FUSION_WEIGHT = 0.5


class Reranker:
    """
    The implementation of `CrossEncoderRanker`, free of Haystack's component interface.

    :param config: The configuration.
    :param clock: Returns seconds.
    """

    def __init__(self, config: RankerConfig, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._config = config
        self._engines = EngineHolder(config)
        self._language = LanguageCheck(config.model)

    def warm_up(self) -> None:
        """Load the engine. See `CrossEncoderRanker.warm_up`."""
        try:
            with self._engines.borrow() as engine:
                engine.stage.prepare()
        except InvalidValueError:
            raise
        except Exception as error:
            if self._config.on_error == "raise":
                raise
            logger.warning("The reranker cannot be loaded; until it can, first-stage order is kept: %s", error)

    def close(self) -> None:
        """Release model and cache, once the running calls have finished."""
        self._engines.close()

    @contextmanager
    def scorer(self) -> "Iterator[PairScorer]":
        """Lend the loaded scorer, whose model stays open until the `with` block ends; load it if it is not."""
        with self._engines.borrow() as engine:
            yield engine.stage.scorer

    def expected_seconds(self, query: str, texts: Sequence[str]) -> float:
        """
        Estimate how long the model needs for texts.

        :param query: The query.
        :param texts: The texts.
        :returns: Seconds; 0 as long as the model is not loaded or its speed is unknown.
        """
        engine = self._engines.loaded
        return 0.0 if engine is None else engine.stage.scorer.expected_seconds([self._request(query, texts)])

    def answer(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[Document]],
        overrides: Overrides,
        *,
        began: float | None = None,
        should_stop: Callable[[], bool] | None = None,
        usage: Usage | None = None,
        due: float = inf,
    ) -> list[Answer]:
        """
        Rank the candidates of queries.

        :param queries: The queries.
        :param documents: The candidates of each query.
        :param overrides: Parameters that the call overrides.
        :param began: When the call arrived, by `clock`; `None`: now.
        :param should_stop: Checked between batches.
        :param usage: Kept up to date while the call runs.
        :param due: Seconds after `began` in which the answer is wanted; see `CallLimits`.
        :returns: `documents` and `status` of each query.
        :raises InvalidValueError: If an argument cannot be used.
        """
        config = self._config
        budget_ms = config.time_budget_ms if overrides.time_budget_ms is None else overrides.time_budget_ms
        budget = None if budget_ms is None else budget_ms / 1000
        limits = CallLimits(
            budget,
            began=began,
            should_stop=should_stop,
            priority=overrides.priority or 0,
            clock=self.clock,
            usage=usage,
            due=due,
        )
        for query in queries:
            self._language.check(check_text("query", query))
        for of_query in documents:
            check_documents(of_query, fusion=config.fusion)
        candidates = [deduplicate(of_query) for of_query in documents]
        passages = [[passage_of(document, config) for document in of_query] for of_query in candidates]
        for texts in passages:
            self._language.check_passages(texts)
        if not any(candidates):
            return [Answer(documents=[], status=self._status("complete", [], limits)) for _ in queries]
        top_k = config.top_k if overrides.top_k is None else overrides.top_k
        try:
            with self._engines.borrow(limits) as engine:
                requests = [self._request(query, texts) for query, texts in zip(queries, passages, strict=True)]
                scored = self._score(engine, requests, candidates, top_k, limits)
                rules = self._rules(engine, overrides, top_k)
                return [
                    self._answer(engine, rules, of_query, texts, scores, limits)
                    for of_query, texts, scores in zip(candidates, passages, scored, strict=True)
                ]
        except (InvalidValueError, ScoringStoppedError):
            raise
        except Exception as error:
            if config.on_error == "raise":
                raise
            logger.warning("Reranking failed, first-stage order is kept: %s", error)
            reason = f"{type(error).__name__}: {error}"
            return [
                Answer(
                    documents=keep_order(of_query, top_k), status=self._status("fallback", of_query, limits, error=reason)
                )
                for of_query in candidates
            ]

    def logits(self, query: str, passages: Sequence[str]) -> list[float]:
        """Score texts. See `CrossEncoderRanker.logits`."""
        check_text("query", query, empty=True)
        if not isinstance(passages, list | tuple):
            raise InvalidValueError(f"passages must be a list of texts, got {type(passages).__name__}")
        texts = [
            self._config.document_prefix + check_text(f"passages[{i}]", passage, empty=True) + self._config.document_suffix
            for i, passage in enumerate(passages)
        ]
        with self._engines.borrow() as engine:
            (scores,) = engine.stage.score([self._request(query, texts)])
        logits: list[float] = scores.logits.tolist()
        return logits

    def _request(self, query: str, texts: Sequence[str]) -> ScoringRequest:
        return ScoringRequest(self._config.query_prefix + query + self._config.query_suffix, texts)

    def _score(
        self,
        engine: Engine,
        requests: Sequence[ScoringRequest],
        candidates: Sequence[list[Document]],
        top_k: int,
        limits: CallLimits,
    ) -> list[Scored]:
        survivors = self._config.early_exit
        if survivors is not None:
            return [engine.stage.score_survivors(request, survivors, limits) for request in requests]
        if engine.early_exit is not None:
            likeliest = engine.early_exit
            return [engine.stage.score_likeliest(request, likeliest, top_k, limits) for request in requests]
        if engine.depth is not None:
            rule = engine.depth
            return [
                engine.stage.score_to_depth(request, rule, first_stage_scores(of_query), top_k, limits)
                for request, of_query in zip(requests, candidates, strict=True)
            ]
        return engine.stage.score(requests, limits)

    def _rules(self, engine: Engine, overrides: Overrides, top_k: int) -> RankingRules:
        config, fitted = self._config, engine.calibration.fusion_weights
        weight = config.fusion_weight
        return RankingRules(
            top_k=top_k,
            scale_score=config.scale_score if overrides.scale_score is None else overrides.scale_score,
            score_threshold=config.score_threshold if overrides.score_threshold is None else overrides.score_threshold,
            fusion=config.fusion,
            fusion_weight=fitted.get(config.fusion, DEFAULT_FUSION_WEIGHT) if weight is None else weight,
            calibration=engine.calibration,
        )

    def _answer(
        self,
        engine: Engine,
        rules: RankingRules,
        candidates: list[Document],
        passages: Sequence[str],
        scored: Scored,
        limits: CallLimits,
    ) -> Answer:
        ranked = rank_documents(candidates, scored, rules)
        for document in ranked:
            position = document.meta[FIRST_STAGE_RANK] - 1
            window = scored.windows[position]
            if window is not None:
                document.meta[WINDOW] = self._characters(engine, document, passages[position], window)
        status = self._status(
            "partial" if scored.stopped_by == "deadline" else "complete",
            candidates,
            limits,
            scored=scored,
            backend=engine.stage.scorer.backend_name,
        )
        return Answer(documents=ranked, status=status)

    def _characters(self, engine: Engine, document: Document, passage: str, window: Window) -> list[int]:
        """Return the characters of the document's content that the window covers."""
        content = document.content or ""
        before = len(passage) - len(content) - len(self._config.document_suffix)
        covered = engine.stage.scorer.characters(passage, window)
        return [min(max(position - before, 0), len(content)) for position in covered]

    def _status(
        self,
        state: State,
        candidates: Sequence[Document],
        limits: CallLimits,
        *,
        scored: Scored | None = None,
        backend: str | None = None,
        error: str | None = None,
    ) -> Status:
        return Status(
            state=state,
            candidates=len(candidates),
            scored=0 if scored is None else int((~np.isnan(scored.logits)).sum()),
            partly_read=0 if scored is None else int(scored.partly_read.sum()),
            stopped_by=None if scored is None else scored.stopped_by,
            cached=0 if scored is None else scored.cached,
            milliseconds=round((self.clock() - limits.began) * 1000, 1),
            model_milliseconds=round(limits.usage.seconds * 1000, 1),
            backend=backend,
            error=error,
        )
