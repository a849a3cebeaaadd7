"""A pipeline split into first and second stage, so that stages shared by several pipelines run once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rerank_plugin.errors import PipelineConfigError
from rerank_plugin.evaluation.model_files import model_fingerprints
from rerank_plugin.evaluation.run_key import run_key
from rerank_plugin.search import RANKER, STAGES, last_stage

JOINER = "joiner"
OUR_RANKER = "rerank_plugin.components.ranker.CrossEncoderRanker"
# Parameters of our ranker that make a candidate's rank depend on the other candidates, and their defaults.
DEPENDENT = {"fusion": "none", "time_budget_ms": None, "adaptive_depth": None, "early_exit": None, "score_threshold": None}


@dataclass(frozen=True)
class AnswerKeys:
    """
    Everything but the query that a pipeline's answers depend on.

    :param settings: The pipeline, the depth, the version of the code.
    :param models: See `model_fingerprints`.
    :param corpus: Revision of the searched stores.
    """

    settings: dict[str, Any]
    models: dict[str, str]
    corpus: str

    def of(self, query: str) -> str:
        """Return the key of the answer to a query, given by its text: an id can stand for an edited query."""
        return run_key(settings=self.settings, query=query, models=self.models, corpus=self.corpus)


@dataclass(frozen=True)
class StagedPipeline:
    """
    A pipeline in two stages. Components after the ranker (a prompt, a generator) belong to neither.

    :param name: Its name in reports.
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
        """Equal for pipelines with the same first stage, whatever their `top_k`, which is set per call."""
        return run_key(settings=self._first_settings(), query=None, models=None, corpus=None)

    @cached_property
    def ranker_key(self) -> str:
        """Equal for pipelines with the same ranker and the same model files."""
        return run_key(settings=self.ranker, query=None, models=model_fingerprints(self.ranker), corpus=None)

    @property
    def ranker_parameters(self) -> dict[str, Any]:
        """The init parameters of the second stage as in the YAML; empty if there is none."""
        return init_parameters(self.ranker or {})

    @property
    def needs_vectors(self) -> bool:
        """Whether its first stage searches embeddings."""
        return "embedding_retriever" in self.first["components"]

    @property
    def joins(self) -> bool:
        """Whether its first stage merges the results of several retrievers."""
        return JOINER in self.first["components"]

    def answer_keys(self, *, corpus: str, candidates: int, version: str) -> "AnswerKeys":
        """
        Return the keys of its answers.

        Model files are read again at each call: a Hub model has a commit only after it has been loaded.

        :param corpus: Revision of the stores that the first stage searches.
        :param candidates: Depth of the first stage.
        :param version: Version of this package.
        """
        return AnswerKeys(
            settings={
                "version": version,
                "first": self._first_settings(),
                "ranker": self.ranker,
                "candidates": candidates,
            },
            models={**model_fingerprints(self.first), **model_fingerprints(self.ranker)},
            corpus=corpus,
        )

    def _first_settings(self) -> dict[str, Any]:
        components = dict(self.first["components"])
        for name in {*STAGES} & {*components}:
            parameters = {key: value for key, value in init_parameters(components[name]).items() if key != "top_k"}
            components[name] = {**components[name], "init_parameters": parameters}
        return {**self.first, "components": components}


def split_stages(name: str, data: dict[str, Any]) -> StagedPipeline:
    """
    Split a pipeline at its ranker.

    :param name: Its name in reports.
    :param data: From `read_pipeline`; left unchanged.
    :returns: Its stages.
    :raises PipelineConfigError: If it has no retriever, or nothing is connected to its ranker.
    """
    components: dict[str, Any] = data["components"]
    edges = [(str(edge["sender"]), str(edge["receiver"])) for edge in data.get("connections", [])]
    last = last_stage(components, pipeline=f"pipeline {name}")
    if last == RANKER:
        senders = [sender for sender, receiver in edges if receiver.startswith(f"{RANKER}.documents")]
        if not senders:
            raise PipelineConfigError(f"pipeline {name}: nothing is connected to ranker.documents")
        last = senders[0].partition(".")[0]
    first_stage = _ancestors(last, edges)
    first = {
        **data,
        "components": {component: value for component, value in components.items() if component in first_stage},
        "connections": [edge for edge in data.get("connections", []) if _component(edge["receiver"]) in first_stage],
    }
    return StagedPipeline(name, first, last, components.get(RANKER))


def _ancestors(last: str, edges: Sequence[tuple[str, str]]) -> set[str]:
    """Return a component and all components whose output reaches it."""
    ancestors, waiting = {last}, [last]
    while waiting:
        receiver = waiting.pop()
        for sender in (_component(sender) for sender, other in edges if _component(other) == receiver):
            if sender not in ancestors:
                ancestors.add(sender)
                waiting.append(sender)
    return ancestors


def init_parameters(component: Mapping[str, Any]) -> dict[str, Any]:
    """Return the init parameters of a component in a pipeline's YAML, where they may be missing or empty."""
    return component.get("init_parameters") or {}


def _component(socket: str) -> str:
    return str(socket).partition(".")[0]
