"""A pipeline split into first and second stage, so that stages shared by several pipelines run once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rerank_plugin.errors import PipelineConfigError
from rerank_plugin.evaluation.model_files import model_fingerprints
from rerank_plugin.evaluation.run_key import run_key
from rerank_plugin.pipelines import STORE_TYPE, outline_pipeline
from rerank_plugin.pipelines.declared import INPUTS, OUTPUTS
from rerank_plugin.pipelines.feeding import CANDIDATES, FILTERS, TOP_K, Feeder
from rerank_plugin.pipelines.shape import DOCUMENTS, RERANK, PipelineShape, RankerSockets, shape_of
from rerank_plugin.pipelines.sockets import QUERIES_NAMES, QUERY_NAMES
from rerank_plugin.pipelines.yaml_file import has_type

OUR_RANKER = "rerank_plugin.components.ranker.CrossEncoderRanker"
TWO_STAGES = "rerank_plugin.components.two_stage.TwoStageRetriever"
OUR_EMBEDDING_RETRIEVER = "rerank_plugin.components.embedding_retriever.EmbeddingRetriever"
# Parameters of our ranker that make a candidate's rank depend on the other candidates, and their defaults.
DEPENDENT = {
    "fusion": "none",
    "time_budget_ms": None,
    "adaptive_depth": None,
    "early_exit": None,
    "effort": "exact",
    "score_threshold": None,
}


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
    :param first: The pipeline up to the candidates, which its section `outputs` names.
    :param told_depth: The components whose `top_k` is set for each call.
    :param retrievers: The components that find documents.
    :param ranker: Type and parameters of the second stage; `None`: there is none, or it cannot be run by itself.
    :param sockets: The sockets of the second stage.
    :param remark: What the figures of this pipeline mean, if that is not the two stages; empty otherwise.
    """

    name: str
    first: dict[str, Any]
    told_depth: frozenset[str]
    retrievers: tuple[str, ...]
    ranker: dict[str, Any] | None
    sockets: RankerSockets | None
    remark: str = ""

    @cached_property
    def first_key(self) -> str:
        """Equal for pipelines with the same first stage, whatever their `top_k`, which is set per call."""
        return run_key(settings=self._first_settings(), query=None, models=None, corpus=None)

    @cached_property
    def ranker_key(self) -> str:
        """Equal for pipelines with the same ranker and the same model files."""
        return run_key(settings=self.ranker, query=None, models=model_fingerprints(self.ranker), corpus=None)

    @property
    def candidates(self) -> list[str]:
        """The sockets that the candidates come from, such as `retriever.documents`."""
        sockets: list[str] = self.first[OUTPUTS][DOCUMENTS]
        return sockets

    @property
    def ranker_parameters(self) -> dict[str, Any]:
        """The init parameters of the second stage as in the YAML; empty if there is none."""
        return init_parameters(self.ranker or {})

    @property
    def has_our_ranker(self) -> bool:
        """Whether its second stage is a `CrossEncoderRanker`, whose settings can be varied and fitted."""
        return self.ranker is not None and self.ranker["type"] == OUR_RANKER

    @property
    def searches_an_index(self) -> bool:
        """Whether its first stage searches an index of `rerank index`, and not another document store."""
        return has_type(self.first, STORE_TYPE)

    @property
    def needs_vectors(self) -> bool:
        """Whether its first stage searches the embeddings of an index."""
        return has_type(self.first, OUR_EMBEDDING_RETRIEVER)

    @property
    def joins(self) -> bool:
        """Whether its first stage merges the results of several retrievers."""
        return len(self.retrievers) > 1

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
        for name in self.told_depth:
            given = init_parameters(components[name])
            parameters = {key: value for key, value in given.items() if key not in (TOP_K, CANDIDATES)}
            components[name] = {**components[name], "init_parameters": parameters}
        return {**self.first, "components": components}


def split_stages(name: str, data: dict[str, Any]) -> StagedPipeline:
    """
    Split a pipeline at its ranker.

    A pipeline whose ranker cannot be run by itself is one stage; the remark says why.

    :param name: Its name in reports.
    :param data: From `read_pipeline`; left unchanged.
    :returns: Its stages.
    :raises PipelineConfigError: If it retrieves nothing, or it is ambiguous how it is fed or what it returns.
    """
    shown = f"pipeline {name}"
    shape = shape_of(outline_pipeline(data, name=shown), name=shown)
    components: dict[str, Any] = data["components"]
    sockets = shape.ranker if shape.inseparable is None else None
    until = shape.candidates if sockets else shape.ranked
    ranker = components[sockets.component] if sockets else None
    remark = _remark(shape)
    if (inner := _inner_stages(shape, components)) is not None:
        components, ranker, sockets, remark = *inner, ""
    feeder = Feeder(shape, until)
    queries = [text for key in (*QUERY_NAMES, *QUERIES_NAMES) for text in shape.inputs.get(key, [])]
    inputs = {QUERY_NAMES[0]: queries, FILTERS: shape.inputs.get(FILTERS, [])}
    inputs = {key: [text for text in texts if _component(text) in feeder.names] for key, texts in inputs.items()}
    first = {
        **data,
        "components": {component: value for component, value in components.items() if component in feeder.names},
        "connections": [edge for edge in data.get("connections", []) if _component(edge["receiver"]) in feeder.names],
        INPUTS: {key: texts for key, texts in inputs.items() if texts},
        OUTPUTS: {DOCUMENTS: [str(socket) for socket in until]},
    }
    return StagedPipeline(
        name=name,
        first=first,
        told_depth=frozenset(component for component in feeder.names if feeder.tells_depth(component)),
        retrievers=tuple(component for component in shape.retrievers if component in feeder.names),
        ranker=ranker,
        sockets=sockets,
        remark=remark,
    )


def _inner_stages(
    shape: PipelineShape, components: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], RankerSockets] | None:
    """
    Take the second stage out of a `TwoStageRetriever` that gives the result.

    :param shape: The pipeline.
    :param components: Its components, as in the YAML; left unchanged.
    :returns: The components, with a retriever that does not rank; type and parameters of its ranker; and the sockets of
        this. `None`: the result comes from another component, or is not ranked.
    """
    name = shape.ranked[0].component
    component = components[name]
    if len(shape.ranked) > 1 or component["type"] != TWO_STAGES or not init_parameters(component).get(RERANK, True):
        return None
    ranker = shape.wiring.component(name).ranker
    plain = {**component, "init_parameters": {**init_parameters(component), RERANK: False}}
    has_top_k = TOP_K in ranker.__haystack_input__
    sockets = RankerSockets(f"{name}_ranker", QUERY_NAMES[0], DOCUMENTS, DOCUMENTS, has_top_k)
    return {**components, name: plain}, init_parameters(component).get("ranker") or {"type": OUR_RANKER}, sockets


def _remark(shape: PipelineShape) -> str:
    if shape.inseparable is not None:
        return f"measured as a whole, not stage by stage: {shape.inseparable}"
    if shape.tail:
        return f"measured behind its ranker: what {' and '.join(shape.tail)} changes afterwards is not"
    return ""


def our_ranker_missing(staged: StagedPipeline, what_fails: str) -> PipelineConfigError:
    """
    Return the error for a pipeline without a `CrossEncoderRanker` as second stage.

    :param staged: The pipeline.
    :param what_fails: What cannot be done, such as `nothing can be calibrated`.
    """
    other = f"its ranker is {staged.ranker['type'].rpartition('.')[2]}" if staged.ranker else staged.remark
    return PipelineConfigError(
        f"pipeline {staged.name} has no CrossEncoderRanker as second stage{f' ({other})' if other else ''}: {what_fails}"
    )


def init_parameters(component: Mapping[str, Any]) -> dict[str, Any]:
    """Return the init parameters of a component in a pipeline's YAML, where they may be missing or empty."""
    return component.get("init_parameters") or {}


def _component(socket: str) -> str:
    return str(socket).partition(".")[0]
