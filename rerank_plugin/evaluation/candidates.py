"""Candidates with the scores of both stages, which give the ranking at smaller depths or with another fusion."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.collections.runs import document_key
from rerank_plugin.components.ranking import SECOND_STAGE_SCORE, first_stage_scores
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.fusion import fuse, fusions_of

if TYPE_CHECKING:
    from haystack import Document


@dataclass(frozen=True)
class FusionSetting:
    """
    How a ranker combines both stages.

    :param method: `none`, or see `scoring.fusion`.
    :param weight: Weight of the second stage, 0 to 1.
    """

    method: str = "none"
    weight: float = 1.0


NO_FUSION = FusionSetting()


@dataclass(frozen=True)
class ScoredCandidates:
    """
    The candidates of one query in first-stage order, all scored by both stages.

    They are passages: several may belong to the same document of the collection.

    :param document_ids: The collection's id of each candidate's document.
    :param first_scores: First-stage scores, shape (candidates,); `nan` where there is none.
    :param logits: Second-stage logits, shape (candidates,).
    :param id_ranks: Ranks of the passage ids in alphabetical order, shape (candidates,): they break ties.
    :param fusion: Fusion of the ranker that scored them.
    """

    document_ids: list[str]
    first_scores: NDArray[np.float64]
    logits: NDArray[np.float32]
    id_ranks: NDArray[np.int64]
    fusion: FusionSetting = NO_FUSION

    def __len__(self) -> int:
        return len(self.document_ids)

    def ranking(self, depth: int, fusion: FusionSetting | None = None) -> dict[str, float]:
        """
        Rank as `CrossEncoderRanker` does if the first stage returns only so many candidates.

        Fusion depends on the ranks and the score range of the candidates present, so it is computed again for each depth.

        :param depth: Number of candidates, from the first.
        :param fusion: Replaces the ranker's own.
        :returns: Strictly decreasing scores by id, best first; of several passages of a document the best counts.
        :raises InvalidValueError: If the fusion lacks scores of the first stage.
        """
        chosen = self.fusion if fusion is None else fusion
        logits = self.logits[:depth]
        if chosen.method == NO_FUSION.method or not len(logits):
            keys = logits.astype(np.float64)
        else:
            firsts = self.first_scores[:depth]
            if chosen.method not in fusions_of(firsts):
                raise InvalidValueError(
                    f"fusion {chosen.method!r} needs the first stage's score of every document: use fusion 'rrf'"
                )
            first_ranks = np.arange(1, len(logits) + 1)
            keys = fuse(chosen.method, chosen.weight, logits, first_ranks=first_ranks, first_scores=firsts)
        return self.ordered_by(keys)

    def ordered_by(self, keys: NDArray[np.floating]) -> dict[str, float]:
        """
        Rank the first candidates by given values.

        :param keys: Higher is better, shape (depth,).
        :returns: See `ranking`.
        """
        ranking: dict[str, float] = {}
        for place, position in enumerate(np.lexsort((self.id_ranks[: len(keys)], -keys))):
            ranking.setdefault(self.document_ids[position], float(-place))
        return ranking

    def as_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back."""
        return {
            "document_ids": self.document_ids,
            "first_scores": [None if np.isnan(score) else score for score in self.first_scores.tolist()],
            "logits": self.logits.tolist(),
            "id_ranks": self.id_ranks.tolist(),
            "fusion": asdict(self.fusion),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ScoredCandidates":
        """Build candidates from the output of `as_json`."""
        return cls(
            document_ids=list(data["document_ids"]),
            first_scores=np.array([np.nan if s is None else s for s in data["first_scores"]], dtype=np.float64),
            logits=np.array(data["logits"], dtype=np.float32),
            id_ranks=np.array(data["id_ranks"], dtype=np.int64),
            fusion=FusionSetting(**data["fusion"]),
        )


def scored_candidates(
    candidates: "Sequence[Document]", ranked: "Sequence[Document]", fusion: FusionSetting = NO_FUSION
) -> ScoredCandidates | None:
    """
    Collect the scores of both stages.

    :param candidates: The first stage's result, best first.
    :param ranked: The second stage's result.
    :param fusion: Fusion of the second stage; if it fuses, its own score is in the metadata.
    :returns: The candidates; `None` if any of them lacks a second-stage score.
    """
    logits: dict[str, float | None] = {
        document.id: document.score if fusion.method == NO_FUSION.method else document.meta.get(SECOND_STAGE_SCORE)
        for document in ranked
    }
    values = [logits.get(document.id) for document in candidates]
    if any(value is None for value in values):
        return None
    ids = np.array([document.id for document in candidates], dtype=object)
    id_ranks = np.empty(len(ids), dtype=np.int64)
    id_ranks[np.argsort(ids, kind="stable")] = np.arange(len(ids))
    return ScoredCandidates(
        document_ids=[document_key(document) for document in candidates],
        first_scores=first_stage_scores(candidates),
        logits=np.array(values, dtype=np.float32),
        id_ranks=id_ranks,
        fusion=fusion,
    )
