"""From scores to ranked documents: which are returned, in which order, with which score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from haystack import Document

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rerank_plugin.scoring.calibration import Calibration
    from rerank_plugin.scoring.second_stage import Scored

FIRST_STAGE_SCORE = "first_stage_score"
FIRST_STAGE_RANK = "first_stage_rank"
SECOND_STAGE_SCORE = "second_stage_score"
RERANKED = "reranked"
PARTLY_READ = "partly_read"


@dataclass(frozen=True)
class RankingRules:
    """
    How scores become a ranking.

    :param top_k: Maximum number of documents.
    :param scale_score: Probabilities instead of logits.
    :param score_threshold: Lowest score of the cross-encoder; `None` keeps all.
    :param fusion: `none`, or see `scoring.fusion`.
    :param fusion_weight: Weight of the second stage.
    :param calibration: Maps logits to probabilities.
    """

    top_k: int
    scale_score: bool
    score_threshold: float | None
    fusion: str
    fusion_weight: float
    calibration: "Calibration"

    def scores(self, logits: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Return probabilities, or the logits as they are."""
        return self.calibration.probabilities(logits) if self.scale_score else logits


def first_stage_scores(documents: Sequence[Document]) -> "NDArray[np.float64]":
    """Return the documents' own scores, `nan` where there is none."""
    return np.array([np.nan if d.score is None else float(d.score) for d in documents], dtype=np.float64)


def rank_documents(candidates: list[Document], scored: "Scored", rules: RankingRules) -> list[Document]:
    """
    Rank candidates by their scores.

    Candidates that the deadline left unscored come last, in first-stage order, without a score, whatever the threshold;
    those skipped because they could not matter are left out. A candidate that was only partly read at the deadline has the
    score of what was read, and `meta["partly_read"]`.

    :param candidates: The candidates, in first-stage order.
    :param scored: Their second-stage scores.
    :param rules: How to rank.
    :returns: Copies, best first; ties are ordered by id.
    """
    known = np.flatnonzero(~np.isnan(scored.logits))
    logits = scored.logits[known].astype(np.float64)
    values = rules.scores(logits)
    # Ordered by logit, not by score: two large logits can have the same probability.
    keys, scores = logits, values
    if rules.fusion != "none" and len(known):
        from rerank_plugin.scoring.fusion import fuse

        firsts = first_stage_scores(candidates)[known]
        keys = fuse(rules.fusion, rules.fusion_weight, logits, first_ranks=known + 1, first_scores=firsts)
        scores = rules.scores(keys) if rules.fusion == "log_linear" else keys
    order = sorted(range(len(known)), key=lambda i: (-keys[i], candidates[known[i]].id))
    ranked: list[tuple[int, float | None, dict[str, Any]]] = []
    for i in order:
        position = int(known[i])
        if rules.score_threshold is not None and values[i] < rules.score_threshold:
            continue
        extra: dict[str, Any] = {} if rules.fusion == "none" else {SECOND_STAGE_SCORE: float(values[i])}
        if scored.partly_read[position]:
            extra[PARTLY_READ] = True
        ranked.append((position, float(scores[i]), extra))
    if scored.stopped_by == "deadline":
        ranked += [(int(position), None, {RERANKED: False}) for position in np.flatnonzero(np.isnan(scored.logits))]
    return [_copy(candidates[position], position, score, extra) for position, score, extra in ranked[: rules.top_k]]


def keep_order(candidates: list[Document], top_k: int) -> list[Document]:
    """Return the first candidates with their own scores, marked as not reranked: the result if scoring failed."""
    return [
        _copy(document, position, document.score, {RERANKED: False}) for position, document in enumerate(candidates[:top_k])
    ]


def _copy(document: Document, position: int, score: float | None, extra: dict[str, Any]) -> Document:
    meta = {**document.meta, FIRST_STAGE_SCORE: document.score, FIRST_STAGE_RANK: position + 1, **extra}
    return replace(document, score=score, meta=meta)
