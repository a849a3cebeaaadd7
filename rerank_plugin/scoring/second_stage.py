"""Scores of a whole call: from the cache where they are known, and no deeper than the result needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.cache import ScoreCache, score_key
from rerank_plugin.scoring.depth import STEP, DepthRule
from rerank_plugin.scoring.limits import CallLimits
from rerank_plugin.scoring.score_stores import CachedScore
from rerank_plugin.scoring.scorer import PairScorer
from rerank_plugin.scoring.types import PassageScores, ScoringRequest, Window

# Share of the time that is left which the first look of an early exit may take: it only says whom to score.
FIRST_LOOK_SHARE = 0.5

StoppedBy = Literal["deadline", "depth", "early_exit"]


@dataclass(frozen=True)
class DepthLimit:
    """
    When the remaining candidates cannot matter.

    :param rule: The rule.
    :param first_scores: Scores of the first stage, best first; `nan` where there is none.
    :param top_k: Candidates that the result will have.
    """

    rule: DepthRule
    first_scores: NDArray[np.float64]
    top_k: int

    def is_enough(self, logits: NDArray[np.float32], scored: int) -> bool:
        """Say whether to stop, after the first `scored` candidates."""
        if scored < self.top_k:
            return False
        worst_kept = float(np.sort(logits[:scored])[-self.top_k])
        return self.rule.is_enough(worst_kept, scored, self.first_scores, len(logits))


@dataclass(frozen=True)
class Scored:
    """
    What the second stage says about the candidates of a query.

    :param logits: Shape (passages,), in first-stage order; `nan` where a passage was not scored.
    :param windows: For each passage the window that decided, or `None`.
    :param partly_read: Shape (passages,): see `PassageScores`.
    :param cached: How many scores came from the cache.
    :param stopped_by: Why not all passages were scored: `deadline` came, they were too deep to matter (`depth`), or a look
        after the first layers left them out (`early_exit`); `None` if all were.
    """

    logits: NDArray[np.float32]
    windows: list[Window | None]
    partly_read: NDArray[np.bool_]
    cached: int = 0
    stopped_by: StoppedBy | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all passages were scored, and read whole."""
        return not (np.isnan(self.logits).any() or self.partly_read.any())


@dataclass
class SecondStage:
    """
    A scorer with its cache.

    :param scorer: Computes scores.
    :param cache: Remembers them; `None`: every score is computed.
    :param first_look: Scores with the first layers only, for the early exit.
    """

    scorer: PairScorer
    cache: ScoreCache | None = None
    first_look: PairScorer | None = None

    def score(self, requests: Sequence[ScoringRequest], limits: CallLimits | None = None) -> list[Scored]:
        """
        Score the passages of all requests; their pairs share batches.

        :param requests: Queries with their passages, in first-stage order.
        :param limits: When the call has to end. See `PairScorer.score`.
        :returns: The scores, in the order of the requests.
        """
        limits = limits or CallLimits()
        if self.cache is None:
            answers = [_scored(scores) for scores in self.scorer.score(requests, limits)]
        else:
            answers = self._score_with(self.cache, requests, limits)
        return [answer if answer.is_complete else replace(answer, stopped_by="deadline") for answer in answers]

    def score_to_depth(self, request: ScoringRequest, depth: DepthLimit, limits: CallLimits) -> Scored:
        """
        Score passages in first-stage order, a few at a time, until the others cannot matter.

        :param request: A query with its passages.
        :param depth: When they cannot.
        :param limits: When the call has to end.
        :returns: The scores, and what stopped them.
        """
        total = len(request.passages)
        answer = _nothing(total)
        for start in range(0, total, STEP):
            if start and depth.is_enough(answer.logits, start):
                return replace(answer, stopped_by="depth")
            positions = list(range(start, min(start + STEP, total)))
            answer = self._score_some(request, positions, answer, limits)
            if answer.stopped_by:
                return answer
        return answer

    def score_survivors(self, request: ScoringRequest, survivors: int, limits: CallLimits) -> Scored:
        """
        Look at all passages with the first layers, and score the best of them with all layers.

        A first look that the deadline ends leaves out what it has not seen.

        :param request: A query with its passages.
        :param survivors: How many are scored with all layers.
        :param limits: When the call has to end.
        :returns: The scores, and what stopped them.
        """
        total = len(request.passages)
        if self.first_look is None or total <= survivors:
            return self.score([request], limits)[0]
        (look,) = self.first_look.score([request], limits.share(FIRST_LOOK_SHARE))
        seen = np.flatnonzero(~np.isnan(look.logits))
        best = seen[np.argsort(-look.logits[seen], kind="stable")][:survivors]
        answer = self._score_some(request, [int(position) for position in best], _nothing(total), limits)
        if answer.stopped_by is None:
            was_cut_short = len(seen) < total or look.partly_read.any()
            return replace(answer, stopped_by="deadline" if was_cut_short else "early_exit")
        return answer

    def close(self) -> None:
        """Let go of the cache."""
        if self.cache is not None:
            self.cache.close()

    def _score_some(self, request: ScoringRequest, positions: Sequence[int], before: Scored, limits: CallLimits) -> Scored:
        """Score some passages, and put them beside those that were scored before."""
        (part,) = self.score([ScoringRequest(request.query, [request.passages[i] for i in positions])], limits)
        logits, partly_read, windows = before.logits.copy(), before.partly_read.copy(), list(before.windows)
        logits[list(positions)] = part.logits
        partly_read[list(positions)] = part.partly_read
        for position, window in zip(positions, part.windows, strict=True):
            windows[position] = window
        return Scored(logits, windows, partly_read, before.cached + part.cached, part.stopped_by)

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
            parts = [
                ScoringRequest(requests[q].query, [requests[q].passages[places[key][1]] for key in row])
                for q, row in by_query.items()
            ]
            whole: dict[bytes, CachedScore] = {}
            for row, scores in zip(by_query.values(), self.scorer.score(parts, limits), strict=True):
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


def _nothing(total: int) -> Scored:
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
