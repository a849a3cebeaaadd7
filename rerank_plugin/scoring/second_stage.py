"""Scores of a whole call: from the cache where they are known, within a time budget, and no deeper than the result needs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.depth import DepthRule
from rerank_plugin.scoring.score_cache import ScoreCache, score_key
from rerank_plugin.scoring.score_shelves import CachedScore
from rerank_plugin.scoring.scorer import PairScorer, ShouldStop
from rerank_plugin.scoring.types import PassageScores, ScoringRequest, Window

# Passages that are scored between two looks at the clock, or at whether the rest can still matter.
CHUNK = 16


@dataclass(frozen=True)
class Limits:
    """
    When to stop before all candidates are scored.

    :param deadline: When the answer is due, as `time.perf_counter()` counts; `None`: whenever.
    :param depth: Says when the remaining candidates cannot matter; `None`: all are scored.
    :param first_scores: Scores of the first stage, best first, for `depth`; `nan` where there is none.
    :param top_k: Candidates that the result will have.
    :param survivors: Candidates that are scored in full after the early exit; `None`: there is none.
    """

    deadline: float | None = None
    depth: DepthRule | None = None
    first_scores: NDArray[np.float64] | None = None
    top_k: int = 10
    survivors: int | None = None

    @property
    def are_set(self) -> bool:
        """Whether anything can stop the scoring."""
        return self.deadline is not None or self.depth is not None or self.survivors is not None


@dataclass(frozen=True)
class Scored:
    """
    What the second stage found out.

    :param logits: Shape (passages,), in first-stage order; `nan` where a passage was not scored.
    :param windows: For each passage the window that decided, or `None`.
    :param stopped_by: Why not all passages were scored: `deadline` came, they were too deep to matter (`depth`), or a look
        after the first layers left them out (`early_exit`); `None` if all were.
    """

    logits: NDArray[np.float32]
    windows: list[Window | None]
    stopped_by: Literal["deadline", "depth", "early_exit"] | None = None


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
    # How long a character took lately, to know before a chunk whether it would end in time.
    _seconds_per_character: float = field(default=0.0, init=False)

    def score(self, requests: Sequence[ScoringRequest], *, should_stop: ShouldStop | None = None) -> list[PassageScores]:
        """
        Score all passages of all requests. See `PairScorer.score`.

        :param requests: Queries with their passages.
        :param should_stop: Asked between batches.
        :returns: The scores, in the order of the requests.
        """
        if self.cache is None:
            return self.scorer.score(requests, should_stop=should_stop)
        items = [(query, passage) for query, request in enumerate(requests) for passage in range(len(request.passages))]
        keys = [score_key(self.scorer.identity, requests[q].query, requests[q].passages[p]) for q, p in items]

        def compute(positions: list[int]) -> list[CachedScore]:
            wanted: dict[int, list[int]] = {}
            for position in positions:
                wanted.setdefault(items[position][0], []).append(position)
            asked = [
                ScoringRequest(requests[q].query, [requests[q].passages[items[i][1]] for i in of])
                for q, of in wanted.items()
            ]
            found = self.scorer.score(asked, should_stop=should_stop)
            scores = {
                position: CachedScore(float(logit), window)
                for of, answer in zip(wanted.values(), found, strict=True)
                for position, logit, window in zip(of, answer.logits, answer.windows, strict=True)
            }
            return [scores[position] for position in positions]

        known = iter(self.cache.get_or_compute(keys, compute))
        answers = []
        for request in requests:
            scores = [next(known) for _ in request.passages]
            logits = np.array([score.logit for score in scores], dtype=np.float32)
            answers.append(PassageScores(logits, [score.window for score in scores]))
        return answers

    def score_within(self, request: ScoringRequest, limits: Limits, *, should_stop: ShouldStop | None = None) -> Scored:
        """
        Score passages in first-stage order, chunk by chunk, until a limit is reached.

        :param request: A query and its passages, in first-stage order.
        :param limits: When to stop. A chunk is not begun that, at the speed so far, would end after the deadline.
        :param should_stop: Asked between batches.
        :returns: The scores, and what stopped them.
        """
        total = len(request.passages)
        logits = np.full(total, np.nan, dtype=np.float32)
        windows: list[Window | None] = [None] * total
        order = self._worth_scoring(request, limits, should_stop)
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            part = [request.passages[i] for i in chunk]
            if limits.deadline is not None and self._would_end(part) > limits.deadline:
                return Scored(logits, windows, "deadline")
            if start and limits.depth is not None and self._is_enough(limits, logits, start):
                return Scored(logits, windows, "depth")
            began = time.perf_counter()
            (scores,) = self.score([ScoringRequest(request.query, part)], should_stop=should_stop)
            self._seconds_per_character = (time.perf_counter() - began) / max(1, sum(map(len, part)))
            logits[chunk] = scores.logits
            for position, window in zip(chunk, scores.windows, strict=True):
                windows[position] = window
        return Scored(logits, windows, "early_exit" if len(order) < total else None)

    def _worth_scoring(self, request: ScoringRequest, limits: Limits, should_stop: ShouldStop | None) -> list[int]:
        """Positions in the order in which they are scored: that of the first stage, or of the first look."""
        total = len(request.passages)
        if limits.survivors is None or self.first_look is None or total <= limits.survivors:
            return list(range(total))
        (look,) = self.first_look.score([request], should_stop=should_stop)
        return [int(i) for i in np.argsort(-look.logits, kind="stable")[: limits.survivors]]

    def close(self) -> None:
        """Let go of the cache."""
        if self.cache is not None:
            self.cache.close()

    def _would_end(self, passages: Sequence[str]) -> float:
        return time.perf_counter() + self._seconds_per_character * sum(map(len, passages))

    def _is_enough(self, limits: Limits, logits: NDArray[np.float32], scored: int) -> bool:
        if limits.depth is None or scored < limits.top_k:
            return False
        worst_kept = float(np.sort(logits[:scored])[-limits.top_k])
        return limits.depth.is_enough(worst_kept, scored, limits.first_scores, len(logits))
