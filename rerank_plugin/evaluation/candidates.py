"""What the second stage is given and what it makes of it, query by query: the raw material of calibration and of curves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.errors import PipelineConfigError

if TYPE_CHECKING:
    from haystack import Pipeline

    from rerank_plugin.components import CrossEncoderRanker


@dataclass(frozen=True)
class JudgedCandidates:
    """
    The candidates of one query, all of them scored by both stages.

    :param query_id: The query.
    :param document_ids: In first-stage order.
    :param first_scores: Of the first stage, shape (candidates,); `nan` where it gave none.
    :param logits: Of the second stage, shape (candidates,).
    :param judgements: Relevance by document, also of documents that are no candidates.
    """

    query_id: str
    document_ids: list[str]
    first_scores: NDArray[np.float64]
    logits: NDArray[np.float32]
    judgements: dict[str, int]

    @property
    def grades(self) -> NDArray[np.int64]:
        """Relevance of the candidates, shape (candidates,); 0 where nobody judged."""
        return np.array([self.judgements.get(id_, 0) for id_ in self.document_ids], dtype=np.int64)


def score_candidates(
    pipeline: "Pipeline",
    queries: Mapping[str, BeirQuery],
    qrels: Qrels,
    *,
    depth: int,
    progress: Callable[[int], None] | None = None,
) -> list[JudgedCandidates]:
    """
    Run queries through a two-stage pipeline whose ranker scores all candidates.

    The ranker's own limits (time budget, adaptive depth, early exit), fusion and threshold are switched off: they are what
    shall be fitted.

    :param pipeline: A pipeline with a component `ranker`, from `load_pipeline`; its ranker is changed.
    :param queries: The queries by id.
    :param qrels: Their judgements.
    :param depth: Candidates of a query.
    :param progress: Called with the number of queries done after each query.
    :returns: For each query its candidates; queries without any are left out.
    :raises PipelineConfigError: If the pipeline has no ranker.
    """
    from rerank_plugin.components.ranking import FIRST_STAGE_RANK, FIRST_STAGE_SCORE
    from rerank_plugin.search import Searcher

    searcher = Searcher(pipeline)
    if not searcher.has_second_stage:
        raise PipelineConfigError("the pipeline has no component named ranker: there is nothing to calibrate")
    _replace_ranker(pipeline)
    searcher.warm_up()
    judged = []
    for count, query in enumerate(queries.values(), start=1):
        hits = searcher.search(query.text, top_k=depth, candidates=depth).hits
        documents = sorted((hit.document for hit in hits), key=lambda document: document.meta[FIRST_STAGE_RANK])
        if documents:
            ids = [str(document.meta.get("doc_id", document.id)) for document in documents]
            firsts = [document.meta[FIRST_STAGE_SCORE] for document in documents]
            judged.append(
                JudgedCandidates(
                    query_id=query.id,
                    document_ids=ids,
                    first_scores=np.array([np.nan if s is None else s for s in firsts], dtype=np.float64),
                    logits=np.array([document.score for document in documents], dtype=np.float32),
                    judgements=dict(qrels[query.id]),
                )
            )
        if progress:
            progress(count)
    return judged


def _replace_ranker(pipeline: "Pipeline") -> None:
    """Put a ranker that returns the logits of all candidates in the place of the pipeline's."""
    from rerank_plugin.components import CrossEncoderRanker

    config = cast("CrossEncoderRanker", pipeline.get_component("ranker")).config
    plain: dict[str, Any] = {"scale_score": False, "fusion": "none", "calibration": "none"}
    off = ("score_threshold", "fusion_weight", "time_budget_ms", "adaptive_depth", "early_exit")
    ranker = CrossEncoderRanker(**{**config.init_parameters(), **plain, **dict.fromkeys(off)})
    edges = [
        (f"{sender}.{data['from_socket'].name}", f"{receiver}.{data['to_socket'].name}")
        for sender, receiver, data in pipeline.graph.edges(data=True)
        if "ranker" in (sender, receiver)
    ]
    pipeline.remove_component("ranker")
    pipeline.add_component("ranker", ranker)
    for sender, receiver in edges:
        pipeline.connect(sender, receiver)
