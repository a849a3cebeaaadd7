"""How a ranker answers: check, score within the limits, rank, and say how it went."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from haystack import Document

from rerank_plugin.components.config import check_positive, engine_settings
from rerank_plugin.components.engine import Engine, load_engine
from rerank_plugin.components.ranking import (
    FIRST_STAGE_RANK,
    RankingRules,
    check_fusion,
    deduplicate,
    first_stage_scores,
    keep_order,
    rank_documents,
)
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.scorer import ScoringStoppedError
from rerank_plugin.scoring.second_stage import Limits, Scored
from rerank_plugin.scoring.types import ScoringRequest, Window

if TYPE_CHECKING:
    from rerank_plugin.components.ranker import CrossEncoderRanker

logger = logging.getLogger(__name__)

WINDOW = "window"
DEFAULT_FUSION_WEIGHT = 0.5

Answer = dict[str, Any]


@dataclass(frozen=True)
class Overrides:
    """
    What a call asks for other than the ranker's parameters; `None` means as configured.

    :param top_k: Most documents.
    :param scale_score: Probabilities or logits.
    :param score_threshold: Lowest score.
    """

    top_k: int | None = None
    scale_score: bool | None = None
    score_threshold: float | None = None


class Reranking:
    """
    The work of a ranker.

    :param ranker: Whose parameters count.
    """

    def __init__(self, ranker: "CrossEncoderRanker") -> None:
        self._ranker = ranker
        self._engine: Engine | None = None
        self._loading = threading.Lock()

    def warm_up(self) -> None:
        """Load what is needed. See `CrossEncoderRanker.warm_up`."""
        try:
            self._warm_engine()
        except InvalidValueError:
            raise
        except Exception as error:
            if self._ranker.on_error == "raise":
                raise
            logger.warning("The reranker cannot be loaded; until it can, first-stage order is kept: %s", error)

    def close(self) -> None:
        """Let model and cache go."""
        with self._loading:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.stage.close()

    def answer(
        self,
        queries: Sequence[str],
        documents: Sequence[list[Document]],
        overrides: Overrides,
        *,
        began: float,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Answer]:
        """
        Rank the candidates of queries.

        :param queries: The queries.
        :param documents: For each its candidates.
        :param overrides: What the call asks for.
        :param began: When the call came, as `time.perf_counter()` counts.
        :param should_stop: Asked between batches.
        :returns: `documents` and `status` of each query.
        :raises InvalidValueError: If something cannot be used that was passed.
        """
        top_k = self._ranker.top_k if overrides.top_k is None else overrides.top_k
        check_positive("top_k", top_k)
        for query in queries:
            if not query.strip():
                raise InvalidValueError("query is empty: pass the text to rank by")
        candidates = [deduplicate(found) for found in documents]
        for found in candidates:
            check_fusion(self._ranker.fusion, found)
        if not any(candidates):
            return [{"documents": [], "status": self._status("complete", [], began)} for _ in queries]
        try:
            engine, loading = self._warm_engine()
            hits = engine.stage.cache.hits if engine.stage.cache else 0
            scored = self._score(engine, queries, candidates, top_k, began + loading, should_stop)
            cached = engine.stage.cache.hits - hits if engine.stage.cache else 0
        except (InvalidValueError, ScoringStoppedError):
            raise
        except Exception as error:
            if self._ranker.on_error == "raise":
                raise
            logger.warning("Reranking failed, first-stage order is kept: %s", error)
            return [
                {
                    "documents": keep_order(found, top_k),
                    "status": self._status("fallback", found, began, error=f"{type(error).__name__}: {error}"),
                }
                for found in candidates
            ]
        rules = self._rules(engine, overrides, top_k)
        return [
            self._answer(engine, rules, found, scores, began, cached)
            for found, scores in zip(candidates, scored, strict=True)
        ]

    def logits(self, query: str, passages: Sequence[str]) -> list[float]:
        """Score texts. See `CrossEncoderRanker.logits`."""
        engine, _ = self._warm_engine()
        texts = [self._ranker.document_prefix + passage + self._ranker.document_suffix for passage in passages]
        (scores,) = engine.stage.score([self._request(query, texts)])
        found: list[float] = scores.logits.tolist()
        return found

    def _request(self, query: str, texts: Sequence[str]) -> ScoringRequest:
        return ScoringRequest(self._ranker.query_prefix + query + self._ranker.query_suffix, texts)

    def _warm_engine(self) -> tuple[Engine, float]:
        """Return the engine, and the seconds that this call spent on loading it."""
        began = time.perf_counter()
        with self._loading:
            if self._engine is None:
                self._engine = load_engine(engine_settings(self._ranker))
                return self._engine, time.perf_counter() - began
            return self._engine, 0.0

    def _score(
        self,
        engine: Engine,
        queries: Sequence[str],
        candidates: list[list[Document]],
        top_k: int,
        began: float,
        should_stop: Callable[[], bool] | None,
    ) -> list[Scored]:
        ranker = self._ranker
        requests = [
            self._request(query, [self._passage(document) for document in found])
            for query, found in zip(queries, candidates, strict=True)
        ]
        deadline = None if ranker.time_budget_ms is None else began + ranker.time_budget_ms / 1000
        limits = [
            Limits(deadline, engine.depth, first_stage_scores(found), top_k, ranker.early_exit) for found in candidates
        ]
        if limits[0].are_set:
            return [
                engine.stage.score_within(request, limit, should_stop=should_stop)
                for request, limit in zip(requests, limits, strict=True)
            ]
        return [Scored(s.logits, s.windows) for s in engine.stage.score(requests, should_stop=should_stop)]

    def _rules(self, engine: Engine, overrides: Overrides, top_k: int) -> RankingRules:
        ranker, fitted = self._ranker, engine.calibration.fusion_weights
        weight = ranker.fusion_weight
        return RankingRules(
            top_k=top_k,
            scale_score=ranker.scale_score if overrides.scale_score is None else overrides.scale_score,
            score_threshold=ranker.score_threshold if overrides.score_threshold is None else overrides.score_threshold,
            fusion=ranker.fusion,
            fusion_weight=fitted.get(ranker.fusion, DEFAULT_FUSION_WEIGHT) if weight is None else weight,
            calibration=engine.calibration,
        )

    def _answer(
        self, engine: Engine, rules: RankingRules, found: list[Document], scored: Scored, began: float, cached: int
    ) -> Answer:
        ranked = rank_documents(found, scored, rules)
        for document in ranked:
            window = scored.windows[document.meta[FIRST_STAGE_RANK] - 1]
            if window is not None:
                document.meta[WINDOW] = self._characters(engine, document, window)
        status = self._status(
            "partial" if scored.stopped_by == "deadline" else "complete",
            found,
            began,
            scored=int((~np.isnan(scored.logits)).sum()),
            stopped_by=scored.stopped_by,
            cached=cached,
            backend=engine.stage.scorer.backend_name,
        )
        return {"documents": ranked, "status": status}

    def _characters(self, engine: Engine, document: Document, window: Window) -> list[int]:
        """Characters of the document's content that the window covers."""
        content = document.content or ""
        passage = self._passage(document)
        before = len(passage) - len(content) - len(self._ranker.document_suffix)
        start, stop = engine.stage.scorer.tokenizer.characters(passage, window.start, window.stop)
        return [min(max(position - before, 0), len(content)) for position in (start, stop)]

    def _status(
        self,
        state: str,
        candidates: list[Document],
        began: float,
        *,
        scored: int = 0,
        stopped_by: str | None = None,
        cached: int = 0,
        backend: str | None = None,
        error: str | None = None,
    ) -> dict[str, Any]:
        return {
            "state": state,
            "candidates": len(candidates),
            "scored": scored,
            "stopped_by": stopped_by,
            "cached": cached,
            "milliseconds": round((time.perf_counter() - began) * 1000, 1),
            "backend": backend,
            "error": error,
        }

    def _passage(self, document: Document) -> str:
        ranker = self._ranker
        fields = [str(document.meta[name]) for name in ranker.meta_fields_to_embed if document.meta.get(name) is not None]
        text = ranker.embedding_separator.join([*fields, document.content or ""])
        return ranker.document_prefix + text + ranker.document_suffix
