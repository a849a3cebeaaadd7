"""Pipelines taken apart into first and second stage, so that what several of them share runs once."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rerank_plugin import __version__
from rerank_plugin.errors import ModelError, PipelineConfigError
from rerank_plugin.pipelines import build_pipeline
from rerank_plugin.scoring.loading.fingerprint import fingerprint_folder
from rerank_plugin.scoring.loading.spec import resolve_model
from rerank_plugin.search import STAGES, Searcher, last_stage

if TYPE_CHECKING:
    from haystack import Document

RANKER = "ranker"
OUR_RANKER = "rerank_plugin.components.ranker.CrossEncoderRanker"
# With one of these a candidate's place depends on which other candidates there are.
DEPENDENT = {"fusion": "none", "time_budget_ms": None, "adaptive_depth": None, "early_exit": None, "score_threshold": None}


@dataclass(frozen=True)
class StagedPipeline:
    """
    A pipeline in two parts. What stands behind the ranker (a prompt, a generator) is in neither.

    :param name: As it is shown.
    :param first: The pipeline up to the candidates.
    :param result_of: The component whose documents are the candidates.
    :param ranker: Type and parameters of the second stage; `None`: there is none.
    """

    name: str
    first: dict[str, Any]
    result_of: str
    ranker: dict[str, Any] | None

    @cached_property
    def first_key(self) -> str:
        """The same for pipelines with the same first stage; how many documents a stage returns is said when it runs."""
        components = dict(self.first["components"])
        for name in {*STAGES} & {*components}:
            parameters = {key: value for key, value in init_parameters(components[name]).items() if key != "top_k"}
            components[name] = {**components[name], "init_parameters": parameters}
        return _hash({**self.first, "components": components})

    @cached_property
    def ranker_key(self) -> str:
        """The same for pipelines with the same ranker, model files included."""
        return _hash([self.ranker, _model_files(self.ranker or {})])

    @property
    def needs_vectors(self) -> bool:
        """Whether its first stage searches embeddings."""
        return "embedding_retriever" in self.first["components"]

    def result_key(self, revisions: Mapping[str, str], candidates: int) -> str:
        """
        Return what tells results of other settings apart from those that would come out now.

        :param revisions: Of the indexes, by folder.
        :param candidates: Depth of the first stage.
        """
        return _hash([__version__, self.first_key, _model_files(self.first), self.ranker_key, dict(revisions), candidates])


def take_apart(name: str, data: dict[str, Any]) -> StagedPipeline:
    """
    Divide a pipeline.

    :param name: As it is shown.
    :param data: From `read_pipeline`; left as it is.
    :returns: Its stages.
    :raises PipelineConfigError: If it has no retriever, or its ranker gets no documents.
    """
    components: dict[str, Any] = data["components"]
    edges = [(str(edge["sender"]), str(edge["receiver"])) for edge in data.get("connections", [])]
    last = last_stage(components, pipeline=f"pipeline {name}")
    if last == RANKER:
        senders = [sender for sender, receiver in edges if receiver.startswith(f"{RANKER}.documents")]
        if not senders:
            raise PipelineConfigError(f"pipeline {name}: nothing is connected to ranker.documents")
        last = senders[0].partition(".")[0]
    kept = _ancestors(last, edges)
    first = {
        **data,
        "components": {component: value for component, value in components.items() if component in kept},
        "connections": [edge for edge in data.get("connections", []) if _component(edge["receiver"]) in kept],
    }
    return StagedPipeline(name, first, last, components.get(RANKER))


def _ancestors(last: str, edges: Sequence[tuple[str, str]]) -> set[str]:
    found, waiting = {last}, [last]
    while waiting:
        receiver = waiting.pop()
        for sender in (_component(sender) for sender, other in edges if _component(other) == receiver):
            if sender not in found:
                found.add(sender)
                waiting.append(sender)
    return found


def init_parameters(component: Mapping[str, Any]) -> dict[str, Any]:
    """Return the init parameters of a component in a pipeline's YAML, which may leave them out or empty."""
    return component.get("init_parameters") or {}


def _component(socket: str) -> str:
    return str(socket).partition(".")[0]


@dataclass(frozen=True)
class Candidates:
    """
    What a first stage found for a query.

    :param documents: Best first.
    :param milliseconds: Time of each component.
    """

    documents: "list[Document]"
    milliseconds: dict[str, float]


class FirstStage:
    """
    A loaded first stage.

    :param staged: A pipeline that has it.
    :raises StoreError: If the index is empty.
    """

    def __init__(self, staged: StagedPipeline) -> None:
        self._pipeline = build_pipeline(staged.first, name=staged.name)
        self._searcher = Searcher(self._pipeline, result_of=staged.result_of)
        self._searcher.warm_up()

    def revisions(self) -> dict[str, str]:
        """Return the revision of each index, by its folder."""
        stores: list[Any] = [getattr(component, "document_store", None) for _, component in self._pipeline.walk()]
        return {str(store.path): store.revision() for store in stores if hasattr(store, "revision")}

    def retrieve(self, query: str, depth: int) -> Candidates:
        """Search; `depth` is the most candidates of each retriever and of the result."""
        result = self._searcher.search(query, top_k=depth, candidates=depth)
        return Candidates([hit.document for hit in result.hits], result.milliseconds)


@dataclass(frozen=True)
class Ranked:
    """
    What a second stage made of candidates.

    :param documents: Best first.
    :param milliseconds: How long it took; `None`: not known, as the work was shared.
    :param pairs: Pairs of query and passage that were scored.
    :param state: `complete`, or what the ranker says.
    """

    documents: "list[Document]"
    milliseconds: float | None
    pairs: int
    state: str = "complete"


class SecondStage:
    """
    A loaded ranker of any class.

    :param staged: A pipeline that has it.
    :ivar is_independent: Whether a candidate's score does not depend on the other candidates, so that the candidates of
        several pipelines can be scored together.
    """

    def __init__(self, staged: StagedPipeline) -> None:
        ranker = cast("dict[str, Any]", staged.ranker)
        parameters = ranker.get("init_parameters") or {}
        self.is_independent = str(ranker["type"]) == OUR_RANKER and all(
            parameters.get(parameter, value) == value for parameter, value in DEPENDENT.items()
        )
        if self.is_independent:
            # Two large logits can have one probability; only the order counts here.
            ranker = {**ranker, "init_parameters": {**parameters, "scale_score": False}}
        self._pipeline = build_pipeline({"components": {RANKER: ranker}, "connections": []}, name=staged.name)
        self._pipeline.warm_up()

    def rank(self, query: str, documents: "list[Document]") -> Ranked:
        """Rank all of these documents."""
        if not documents:
            return Ranked([], 0.0, 0)
        began = time.perf_counter()
        output = self._pipeline.run({RANKER: {"query": query, "documents": documents, "top_k": len(documents)}})[RANKER]
        milliseconds = (time.perf_counter() - began) * 1000
        status = output.get("status", {})
        pairs = status.get("scored", len(documents))
        return Ranked(output["documents"], milliseconds, pairs, status.get("state", "complete"))


def _model_files(data: Any) -> dict[str, str]:
    """Hash the files of every model in a folder that a pipeline names."""
    found: dict[str, str] = {}
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "model" and isinstance(value, str):
                found |= _folder_hash(value)
            found |= _model_files(value)
    return found


def _folder_hash(model: str) -> dict[str, str]:
    try:
        folder = Path(resolve_model(model))
    except ModelError:
        return {}  # what is wrong with it shows when it is loaded
    return {model: fingerprint_folder(folder, {})} if folder.is_dir() else {}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
