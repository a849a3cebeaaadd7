"""Loaded first and second stages, which answer one query at a time and report the cost."""

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import PipelineConfigError
from rerank_plugin.evaluation.candidates import NO_FUSION, FusionSetting
from rerank_plugin.evaluation.stages import DEPENDENT, StagedPipeline
from rerank_plugin.pipelines import build_pipeline
from rerank_plugin.scoring.calibration import load_calibration
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.search import Searcher

if TYPE_CHECKING:
    from haystack import Document

COMPLETE = "complete"
# Other rankers that score every query-passage pair independently.
POINTWISE_RANKERS = {
    "haystack_integrations.components.rankers.sentence_transformers.sentence_transformers_similarity"
    ".SentenceTransformersSimilarityRanker",
}


@dataclass(frozen=True)
class Candidates:
    """
    A first stage's result for a query.

    :param documents: The documents, best first.
    :param milliseconds: Time of each component.
    """

    documents: "list[Document]"
    milliseconds: dict[str, float]


class FirstStage:
    """
    A loaded first stage.

    :param staged: A pipeline with this first stage.
    :raises StoreError: If the index is empty.
    """

    def __init__(self, staged: StagedPipeline) -> None:
        name = f"pipeline {staged.name}"
        self._searcher = Searcher(build_pipeline(staged.first, name=name), name=name)
        self._searcher.warm_up()
        # A store without a revision may have changed by the next run, so its answers are never reused.
        self._unknown_state = f"unknown:{uuid.uuid4().hex}"

    def revision(self) -> str:
        """Return a text that changes whenever one of the searched stores changes."""
        stores = self.stores()
        if not stores or not all(hasattr(store, "revision") for store in stores):
            return self._unknown_state
        return " ".join(sorted({store.revision() for store in stores}))

    def stores(self) -> list[Any]:
        """Return the document stores that it searches."""
        return self._searcher.document_stores

    def retrieve(self, query: str, depth: int) -> Candidates:
        """Search; `depth` is the maximum number of candidates of each retriever and of the result."""
        result = self._searcher.search(query, top_k=depth, candidates=depth)
        return Candidates([hit.document for hit in result.hits], result.milliseconds)


@dataclass(frozen=True)
class Ranked:
    """
    A second stage's result for a query.

    :param documents: The documents, best first.
    :param milliseconds: Time taken; `None`: unknown, as the work was shared.
    :param pairs: Query-passage pairs scored.
    :param state: `complete`, or the ranker's state.
    """

    documents: "list[Document]"
    milliseconds: float | None
    pairs: int
    state: str = COMPLETE


class SecondStage:
    """
    A loaded ranker of any class.

    :param staged: A pipeline with this ranker.
    :ivar is_independent: Whether a candidate's score is independent of the other candidates, so that the candidates of
        several pipelines can be scored together.
    :ivar scores_all: Whether it scores every candidate independently and ranks by these scores and a fusion alone, so that
        its ranking of fewer candidates follows from the scores.
    :ivar fusion: How it combines the stages.
    :raises PipelineConfigError: If the pipeline has no ranker, or it cannot be built.
    """

    def __init__(self, staged: StagedPipeline) -> None:
        if staged.ranker is None or staged.sockets is None:
            raise PipelineConfigError(f"pipeline {staged.name} has no second stage that can be run by itself")
        is_ours = staged.has_our_ranker
        parameters = staged.ranker_parameters
        chosen = {name: parameters.get(name, default) for name, default in DEPENDENT.items()} if is_ours else {}
        ranker = staged.ranker
        if is_ours and chosen["score_threshold"] is None:
            # Large logits can have the same probability; without a threshold only the order matters here.
            ranker = {**ranker, "init_parameters": {**parameters, "scale_score": False}}
        self._sockets = staged.sockets
        alone = {"components": {self._sockets.component: ranker}, "connections": []}
        self._pipeline = build_pipeline(alone, name=f"pipeline {staged.name}")
        self._pipeline.warm_up()
        self.is_independent = is_ours and chosen == DEPENDENT
        self.scores_all = (
            {**chosen, "fusion": DEPENDENT["fusion"]} == DEPENDENT
            if is_ours
            else str(ranker["type"]) in POINTWISE_RANKERS and parameters.get("score_threshold") is None
        )
        self.fusion = _fusion(parameters) if is_ours else NO_FUSION

    def rank(self, query: str, documents: "list[Document]") -> Ranked:
        """Rank the documents; all of them are returned, unless the ranker drops some."""
        if not documents:
            return Ranked([], 0.0, 0)
        sockets = self._sockets
        inputs: dict[str, Any] = {sockets.query: query, sockets.documents: documents}
        if sockets.has_top_k:
            inputs["top_k"] = len(documents)
        began = time.perf_counter()
        output = self._pipeline.run({sockets.component: inputs})[sockets.component]
        milliseconds = (time.perf_counter() - began) * 1000
        status = output.get("status", {})
        pairs = status.get("scored", len(documents))
        return Ranked(output[sockets.ranked], milliseconds, pairs, status.get("state", COMPLETE))


def _fusion(parameters: dict[str, Any]) -> FusionSetting:
    """Return the fusion of a `CrossEncoderRanker`, with its configured weight, the calibration's, or the default."""
    from rerank_plugin.components.reranker import DEFAULT_FUSION_WEIGHT

    method = str(parameters.get("fusion", NO_FUSION.method))
    if method == NO_FUSION.method:
        return NO_FUSION
    weight = parameters.get("fusion_weight")
    if weight is None:
        chosen, model = str(parameters.get("calibration", "auto")), str(parameters.get("model", DEFAULT_MODEL))
        weight = load_calibration(chosen, model).fusion_weights.get(method, DEFAULT_FUSION_WEIGHT)
    return FusionSetting(method, float(weight))
