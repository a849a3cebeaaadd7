"""The candidates of judged queries, scored by both stages: the data that a calibration is fitted on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.collections.runs import document_key
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.candidates import ScoredCandidates, scored_candidates
from rerank_plugin.evaluation.first_looks import FirstLooks
from rerank_plugin.evaluation.stage_runners import FirstStage, SecondStage
from rerank_plugin.evaluation.stages import DEPENDENT, StagedPipeline, our_ranker_missing
from rerank_plugin.progress import CountCallback


@dataclass(frozen=True)
class JudgedCandidates:
    """
    The candidates of one query, all of them scored by both stages.

    :param query_id: Id of the query.
    :param scored: The candidates with their scores.
    :param judgements: Relevance by document, including documents that are not candidates.
    :param looks: Logits of the model's early-exit network, shape (candidates,); `None` if it has none.
    """

    query_id: str
    scored: ScoredCandidates
    judgements: dict[str, int]
    looks: NDArray[np.float32] | None = None

    @property
    def grades(self) -> NDArray[np.int64]:
        """Relevance of the candidates, shape (candidates,); 0 for unjudged ones."""
        return np.array([self.judgements.get(id_, 0) for id_ in self.scored.document_ids], dtype=np.int64)


def score_candidates(
    staged: StagedPipeline,
    queries: Mapping[str, BeirQuery],
    qrels: Qrels,
    *,
    depth: int,
    on_progress: CountCallback | None = None,
) -> list[JudgedCandidates]:
    """
    Score the candidates of judged queries with both stages.

    The ranker's limits (time budget, adaptive depth, early exit, effort), fusion, threshold and calibration are switched
    off, as they are what is fitted. Before the model is loaded, the first stage checks that the judgements fit the index.

    :param staged: A pipeline with a `CrossEncoderRanker`.
    :param queries: The queries by id.
    :param qrels: Their judgements.
    :param depth: Candidates per query.
    :param on_progress: Called after each query with queries done and total queries.
    :returns: The candidates of each query; queries without any are left out.
    :raises PipelineConfigError: If the pipeline has no `CrossEncoderRanker`.
    :raises InvalidValueError: If the candidates are all relevant or all not relevant.
    """
    if staged.ranker is None or not staged.has_our_ranker:
        raise our_ranker_missing(staged, "nothing can be calibrated")
    first_stage = FirstStage(staged)
    check_candidates(first_stage, queries, qrels, depth=depth)
    parameters = {**staged.ranker_parameters, **DEPENDENT, "calibration": "none", "on_error": "raise"}
    parameters.pop("fusion_weight", None)
    second_stage = SecondStage(replace(staged, ranker={**staged.ranker, "init_parameters": parameters}))
    first_looks = FirstLooks.of(parameters)
    judged = []
    for count, query in enumerate(queries.values(), start=1):
        documents = first_stage.retrieve(query.text, depth).documents
        scored = scored_candidates(documents, second_stage.rank(query.text, documents).documents) if documents else None
        if scored is not None:
            looks = None if first_looks is None else first_looks.logits(query.text, documents)
            judged.append(JudgedCandidates(query.id, scored, dict(qrels[query.id]), looks))
        if on_progress:
            on_progress(count, len(queries))
    return judged


def check_candidates(first_stage: FirstStage, queries: Mapping[str, BeirQuery], qrels: Qrels, *, depth: int) -> None:
    """
    Check that there are both relevant and non-relevant candidates: without both, nothing can be fitted.

    Usually a few queries are enough: it stops as soon as both kinds have occurred.

    :param first_stage: Retrieves candidates.
    :param queries: The queries by id.
    :param qrels: Their judgements.
    :param depth: Candidates per query.
    :raises InvalidValueError: If the candidates are all relevant or all not relevant.
    """
    seen: set[bool] = set()
    count = 0
    for query in queries.values():
        documents = first_stage.retrieve(query.text, depth).documents
        seen |= {qrels[query.id].get(document_key(document), 0) > 0 for document in documents}
        count += len(documents)
        if len(seen) == 2:
            return
    raise InvalidValueError(
        f"nothing can be fitted: of {count} candidates of {len(queries)} queries {count if True in seen else 0} are judged "
        "relevant; check that the index was made from the same collection, and the split"
    )
