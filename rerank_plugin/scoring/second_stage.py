"""Scores of a whole call: cached scores are reused, and candidates that cannot matter are not scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.cache import ScoreCache, score_key
from rerank_plugin.scoring.depth import STEP, DepthRule, shares_of_best
from rerank_plugin.scoring.exit_rule import ExitRule, expected_logits
from rerank_plugin.scoring.limits import CallLimits
from rerank_plugin.scoring.score_stores import CachedScore
from rerank_plugin.scoring.scorer import PairScorer
from rerank_plugin.scoring.types import PassageScores, ScoringRequest, Window

# Share of the remaining time that the first look of early exit may take: it only selects the candidates to score.
FIRST_LOOK_SHARE = 0.5

StoppedBy = Literal["deadline", "depth", "early_exit"]


@dataclass(frozen=True)
class Scored:
    """
    The second stage's scores of a query's candidates.

    :param logits: Shape (passages,), in first-stage order; `nan` where a passage was not scored.
    :param windows: For each passage the window that decided its score, or `None`.
    :param partly_read: Shape (passages,): see `PassageScores`.
    :param cached: Number of scores from the cache.
    :param stopped_by: Why not all passages were scored: the `deadline` passed, the rest were too deep to matter (`depth`),
        or a first look ruled them out (`early_exit`); `None` if all were scored.
    """

    logits: NDArray[np.float32]
    windows: list[Window | None]
    partly_read: NDArray[np.bool_]
    cached: int = 0
    stopped_by: StoppedBy | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all passages were scored and read to the end."""
        return not (np.isnan(self.logits).any() or self.partly_read.any())


@dataclass
class SecondStage:
    """
    A scorer with its cache.

    :param scorer: Computes scores.
    :param cache: Caches them; `None`: every score is computed.
    :param first_look: Scores with the early-exit network.
    """

    scorer: PairScorer
    cache: ScoreCache | None = None
    first_look: PairScorer | None = None

    def prepare(self) -> None:
        """Make ready what the first call would otherwise wait for."""
        self.scorer.prepare()
        if self.first_look is not None:
            self.first_look.prepare()

    def score(self, requests: Sequence[ScoringRequest], limits: CallLimits | None = None) -> list[Scored]:
        """
        Score the passages of all requests; their pairs share batches.

        :param requests: Queries with their passages, in first-stage order.
        :param limits: When the call has to end. See `PairScorer.score`.
        :returns: The scores, in the order of the requests.
        """
        limits = limits or CallLimits()
        if self.cache is None:
            results = [_scored(scores) for scores in self.scorer.score(requests, limits)]
        else:
            results = self._score_with(self.cache, requests, limits)
        return [result if result.is_complete else replace(result, stopped_by="deadline") for result in results]

    def score_to_depth(
        self, request: ScoringRequest, rule: DepthRule, first_scores: NDArray[np.float64], top_k: int, limits: CallLimits
    ) -> Scored:
        """
        Score passages in first-stage order, a few at a time, until the rest cannot matter.

        :param request: A query with its passages.
        :param rule: When the rest cannot matter.
        :param first_scores: Scores of the first stage, best first; `nan` where there is none.
        :param top_k: Length of the result.
        :param limits: When the call has to end.
        :returns: The scores, and why scoring stopped.
        """
        order = list(range(len(request.passages)))
        result, has_all = self._score_in_order(request, order, shares_of_best(first_scores), rule, top_k, limits)
        return result if has_all or result.stopped_by else replace(result, stopped_by="depth")

    def score_likeliest(self, request: ScoringRequest, rule: ExitRule, top_k: int, limits: CallLimits) -> Scored:
        """
        Score all passages with the early-exit network, and the likeliest with the whole model until the rest cannot matter.

        How many that are depends on the query: where the first look leaves doubt, more are scored. If the deadline ends the
        first look, the passages that it did not reach are left out.

        :param request: A query with its passages.
        :param rule: The order, and when to stop.
        :param top_k: Length of the result.
        :param limits: When the call has to end.
        :returns: The scores, and why scoring stopped.
        """
        if self.first_look is None or len(request.passages) <= STEP:
            return self.score([request], limits)[0]
        (look,) = self.first_look.score([request], limits.share(FIRST_LOOK_SHARE))
        signals = expected_logits(look.logits, rule.rank_weight)
        seen = np.flatnonzero(~np.isnan(signals))
        order = seen[np.argsort(-signals[seen], kind="stable")]
        result, has_all = self._score_in_order(request, order.tolist(), signals[order], rule.depth, top_k, limits)
        if result.stopped_by:
            return result
        was_cut_short = len(seen) < len(request.passages) or look.partly_read.any()
        if was_cut_short:
            return replace(result, stopped_by="deadline")
        return result if has_all else replace(result, stopped_by="early_exit")

    def score_survivors(self, request: ScoringRequest, survivors: int, limits: CallLimits) -> Scored:
        """
        Score all passages with the early-exit network, and the best of them with all layers.

        If the deadline ends the first look, the passages that it did not reach are left out.

        :param request: A query with its passages.
        :param survivors: Number of passages scored with all layers.
        :param limits: When the call has to end.
        :returns: The scores, and why scoring stopped.
        """
        total = len(request.passages)
        if self.first_look is None or total <= survivors:
            return self.score([request], limits)[0]
        (look,) = self.first_look.score([request], limits.share(FIRST_LOOK_SHARE))
        seen = np.flatnonzero(~np.isnan(look.logits))
        best = seen[np.argsort(-look.logits[seen], kind="stable")][:survivors]
        result = self._score_positions(request, [int(position) for position in best], _unscored(total), limits)
        if result.stopped_by is None:
            was_cut_short = len(seen) < total or look.partly_read.any()
            return replace(result, stopped_by="deadline" if was_cut_short else "early_exit")
        return result

    def _score_in_order(
        self,
        request: ScoringRequest,
        order: Sequence[int],
        signals: NDArray[np.float64],
        rule: DepthRule,
        top_k: int,
        limits: CallLimits,
    ) -> tuple[Scored, bool]:
        """Score a few passages at a time until the rest cannot matter; return whether all were scored, too."""
        result = _unscored(len(request.passages))
        for start in range(0, len(order), STEP):
            if start >= max(top_k, STEP):
                worst_kept = float(np.sort(result.logits[order[:start]])[-top_k])
                if rule.is_enough(worst_kept, start, signals):
                    return result, False
            result = self._score_positions(request, order[start : start + STEP], result, limits)
            if result.stopped_by:
                return result, False
        return result, True

    def close(self) -> None:
        """Close the cache."""
        if self.cache is not None:
            self.cache.close()

    def _score_positions(
        self, request: ScoringRequest, positions: Sequence[int], before: Scored, limits: CallLimits
    ) -> Scored:
        """Score the passages at these positions, and merge the scores into those from before."""
        (scored,) = self.score([ScoringRequest(request.query, [request.passages[i] for i in positions])], limits)
        logits, partly_read, windows = before.logits.copy(), before.partly_read.copy(), list(before.windows)
        logits[list(positions)] = scored.logits
        partly_read[list(positions)] = scored.partly_read
        for position, window in zip(positions, scored.windows, strict=True):
            windows[position] = window
        return Scored(logits, windows, partly_read, before.cached + scored.cached, scored.stopped_by)

    def _score_with(self, cache: ScoreCache, requests: Sequence[ScoringRequest], limits: CallLimits) -> list[Scored]:
        keys = [
            [score_key(self.scorer.identity, request.query, passage) for passage in request.passages] for request in requests
        ]
        places = {key: (q, p) for q, row in reversed(list(enumerate(keys))) for p, key in reversed(list(enumerate(row)))}
        partial: dict[bytes, CachedScore] = {}
        computed: set[bytes] = set()

        def compute(wanted: list[bytes]) -> Mapping[bytes, CachedScore]:
            by_query: dict[int, list[bytes]] = {}
            for key in wanted:
                by_query.setdefault(places[key][0], []).append(key)
            misses = [
                ScoringRequest(requests[q].query, [requests[q].passages[places[key][1]] for key in row])
                for q, row in by_query.items()
            ]
            whole: dict[bytes, CachedScore] = {}
            for row, scores in zip(by_query.values(), self.scorer.score(misses, limits), strict=True):
                for key, logit, window, is_partly_read in zip(
                    row, scores.logits.tolist(), scores.windows, scores.partly_read.tolist(), strict=True
                ):
                    if not np.isnan(logit):
                        (partial if is_partly_read else whole)[key] = CachedScore(logit, window)
            computed.update(whole)
            return whole

        known = cache.get_or_compute([key for row in keys for key in row], compute, limits)
        return [_from_cache(row, known, partial, computed) for row in keys]


def _scored(scores: PassageScores) -> Scored:
    return Scored(scores.logits, scores.windows, scores.partly_read)


def _unscored(total: int) -> Scored:
    return Scored(np.full(total, np.nan, dtype=np.float32), [None] * total, np.zeros(total, dtype=np.bool_))


def _from_cache(
    keys: Sequence[bytes], known: Mapping[bytes, CachedScore], partial: Mapping[bytes, CachedScore], computed: set[bytes]
) -> Scored:
    scores = [known.get(key, partial.get(key)) for key in keys]
    return Scored(
        logits=np.array([np.nan if score is None else score.logit for score in scores], dtype=np.float32),
        windows=[None if score is None else score.window for score in scores],
        partly_read=np.array([key in partial for key in keys], dtype=np.bool_),
        cached=sum(key in known and key not in computed for key in keys),
    )
