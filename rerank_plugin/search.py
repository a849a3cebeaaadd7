"""Running queries through a pipeline: feeds its components by name, and reports the effect of each stage."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

from haystack import Document, Pipeline
from haystack.core.errors import PipelineRuntimeError

from rerank_plugin.checks import check_count, check_flag, check_number, check_text
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.components.ranking import FIRST_STAGE_RANK, FIRST_STAGE_SCORE
from rerank_plugin.components.result_collapser import ResultCollapser
from rerank_plugin.errors import PipelineConfigError, RerankError, StoreError
from rerank_plugin.pipelines import component_names
from rerank_plugin.pipelines.timing import stopwatch
from rerank_plugin.results import Hit, SearchResult
from rerank_plugin.sentences import split_sentences

RETRIEVERS = ("bm25_retriever", "embedding_retriever")
RANKER = "ranker"
# The ranked list of a pipeline, which `rerank eval` measures, is the output of the last of these that it has.
STAGES = (*RETRIEVERS, "joiner", RANKER)
# What a user sees is the output of this component, where a pipeline has it: the ranked list without near duplicates.
COLLAPSER = "collapser"
TEXT_INPUTS = {"bm25_retriever": "query", "text_embedder": "text", RANKER: "query"}

# How many documents a first stage hands on if its result is to be collapsed, and how many for each hit that is wanted.
_LEAST_HANDED_ON = 100
_HANDED_ON_PER_HIT = 3

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class _Request:
    """The parameters of a call of `search`; `None` means as configured in the pipeline."""

    query: str
    top_k: int | None
    candidates: int | None
    filters: dict[str, Any] | None
    collapse: bool | None
    max_per_source: int | None
    time_budget_ms: float | None


@dataclass(frozen=True)
class _Answer:
    """The documents of a result, the status of the collapser, the time of each component, the status of the ranker."""

    documents: list[Document]
    left_out: dict[str, int]
    times: dict[str, float]
    status: dict[str, Any] | None


class Searcher:
    """
    Runs queries through a pipeline whose components are named as in the packaged pipelines.

    :param pipeline: A pipeline from `load_pipeline`.
    :param result_of: The component whose `documents` are the result; `None`: the component `collapser` if the pipeline has
        one behind its last stage, or else the last of `STAGES`.
    :raises PipelineConfigError: If it has no retriever with a known name.
    """

    def __init__(self, pipeline: Pipeline, *, result_of: str | None = None) -> None:
        self._pipeline = pipeline
        self._names = component_names(pipeline)
        self._last = result_of or last_stage(self._names)
        self._has_collapser = result_of is None and _ends_in_collapser(pipeline)

    @property
    def has_second_stage(self) -> bool:
        """Whether the pipeline reranks."""
        return RANKER in self._names

    def warm_up(self) -> None:
        """
        Load the models and open the index.

        :raises StoreError: If the index is empty.
        """
        for name in self._names:
            store = getattr(self._pipeline.get_component(name), "document_store", None)
            if store is not None and store.count_documents() == 0:
                raise StoreError(f"the index {store.path} holds no documents: fill it with `rerank index`")
        self._pipeline.warm_up()

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        candidates: int | None = None,
        filters: dict[str, Any] | None = None,
        sentences: bool = False,
        collapse: bool | None = None,
        max_per_source: int | None = None,
        time_budget_ms: float | None = None,
    ) -> SearchResult:
        """
        Run a query.

        Near duplicates can be collapsed and the hits of a file limited whether or not the pipeline has a collapser: the
        stage before is asked for more documents than the hits that are wanted, so that others take the free places.

        :param query: The query.
        :param top_k: Maximum number of hits; `None`: as configured in the pipeline.
        :param candidates: Number of documents that the first stage passes on; `None`: as configured.
        :param filters: Haystack filters; `None`: as configured.
        :param sentences: Whether to find the sentence of each hit that matches the query best.
        :param collapse: Whether near duplicates of a better hit are left out; `None`: as configured in the pipeline's
            collapser, and `False` without one.
        :param max_per_source: Maximum number of hits of one file; `None`: as configured.
        :param time_budget_ms: Milliseconds for the second stage, if it is a `CrossEncoderRanker`; `None`: as configured.
        :returns: The hits, and the time of each component.
        :raises InvalidValueError: If the query is empty or not a string, or a number is out of range.
        :raises RerankError: If a component of this package fails.
        """
        check_text("query", query)
        for name, value in (("top_k", top_k), ("candidates", candidates), ("max_per_source", max_per_source)):
            if value is not None:
                check_count(name, value)
        if collapse is not None:
            check_flag("collapse", collapse)
        if time_budget_ms is not None:
            check_number("time_budget_ms", time_budget_ms, above=0)
        request = _Request(query, top_k, candidates, filters, collapse, max_per_source, time_budget_ms)
        answer = self._answer(request)
        hits = [
            Hit(
                document=document,
                rank=rank,
                first_stage_rank=document.meta.get(FIRST_STAGE_RANK),
                first_stage_score=document.meta.get(FIRST_STAGE_SCORE),
            )
            for rank, document in enumerate(answer.documents, start=1)
        ]
        if sentences:
            hits = self._with_sentences(query, hits)
        left_out = answer.left_out
        return SearchResult(
            hits,
            answer.times,
            collapsed=left_out.get("collapsed", 0),
            over_limit=left_out.get("over_limit", 0),
            status=answer.status,
        )

    def _answer(self, request: _Request) -> _Answer:
        adds_collapser = not self._has_collapser and (request.collapse or request.max_per_source is not None)
        with stopwatch() as watch:
            outputs = self._run(self._inputs(request, collapses=self._has_collapser or adds_collapser))
        output = outputs[COLLAPSER if self._has_collapser else self._last]
        times = {name: watch.milliseconds[name] for name in self._names if name in watch.milliseconds}
        if adds_collapser:
            began = time.perf_counter()
            output = ResultCollapser(
                collapse=bool(request.collapse),
                max_per_source=request.max_per_source,
                top_k=request.top_k or self._configured_top_k(self._last) or _LEAST_HANDED_ON,
            ).run(documents=output["documents"])
            times[COLLAPSER] = (time.perf_counter() - began) * 1000
        is_collapsed = self._has_collapser or adds_collapser
        return _Answer(
            documents=output["documents"],
            left_out=output.get("status", {}) if is_collapsed else {},
            times=times,
            status=outputs.get(RANKER, {}).get("status"),
        )

    def _run(self, inputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the outputs of the component that gives the result, and of the ranker."""
        shown = {COLLAPSER if self._has_collapser else self._last, *({RANKER} & set(self._names))}
        try:
            return self._pipeline.run(inputs, include_outputs_from=shown)
        except PipelineRuntimeError as error:
            if isinstance(error.__cause__, RerankError):
                raise error.__cause__ from None  # Haystack wraps component errors; the inner error names the remedy
            raise

    def _inputs(self, request: _Request, *, collapses: bool) -> dict[str, dict[str, Any]]:
        """
        Return the inputs of every component with a known name.

        Only the component that gives the result is limited to `top_k`: the last stage before a collapser hands on more.
        """
        inputs: dict[str, dict[str, Any]] = {}
        for name in self._names:
            parameters: dict[str, Any] = {}
            if name in TEXT_INPUTS:
                parameters[TEXT_INPUTS[name]] = request.query
            if name in STAGES and name != self._last:
                parameters["top_k"] = request.candidates
            elif name in STAGES:
                parameters["top_k"] = self._handed_on(request) if collapses else request.top_k
            elif name == COLLAPSER and self._has_collapser:
                limits = {"collapse": request.collapse, "max_per_source": request.max_per_source}
                parameters |= {"top_k": request.top_k, **limits}
            if name in RETRIEVERS:
                parameters["filters"] = request.filters
            if name == RANKER and isinstance(self._pipeline.get_component(name), CrossEncoderRanker):
                parameters["time_budget_ms"] = request.time_budget_ms
            inputs[name] = {key: value for key, value in parameters.items() if value is not None}
        return {name: parameters for name, parameters in inputs.items() if parameters}

    def _handed_on(self, request: _Request) -> int:
        """Return how many documents the last stage hands to the collapser."""
        if request.candidates is not None:
            return max(request.candidates, request.top_k or 1)
        configured = [self._configured_top_k(name) or 1 for name in self._names if name in STAGES]
        return max(*configured, _LEAST_HANDED_ON, _HANDED_ON_PER_HIT * (request.top_k or 1))

    def _configured_top_k(self, name: str) -> int | None:
        top_k: int | None = getattr(self._pipeline.get_component(name), "top_k", None)
        return top_k

    def _with_sentences(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        split = [split_sentences(hit.document.content or "") for hit in hits]
        scored = [
            list(zip(scores, sentences, strict=True))
            for scores, sentences in zip(self._sentence_scores(query, split), split, strict=True)
        ]
        best = [max(pairs, key=lambda pair: pair[0], default=(0.0, "")) for pairs in scored]
        return [replace(hit, sentence=sentence) for hit, (_, sentence) in zip(hits, best, strict=True)]

    def _sentence_scores(self, query: str, split: Sequence[Sequence[str]]) -> list[list[float]]:
        ranker: Any = self._pipeline.get_component(RANKER) if self.has_second_stage else None
        sentences = [sentence for sentences in split for sentence in sentences]
        # A ranker of another library has no `logits`.
        scores = iter(ranker.logits(query, sentences) if hasattr(ranker, "logits") else _overlaps(query, sentences))
        return [[next(scores) for _ in sentences] for sentences in split]


def last_stage(names: Iterable[str], *, pipeline: str = "the pipeline") -> str:
    """
    Return the component of a pipeline whose output is the result.

    :param names: The names of its components.
    :param pipeline: Name of the pipeline, for the error message.
    :returns: The last of `STAGES` that it has.
    :raises PipelineConfigError: If it has no retriever with a known name.
    """
    known = list(names)
    if not set(RETRIEVERS) & set(known):
        raise PipelineConfigError(
            f"{pipeline} cannot search: it has no component named {' or '.join(RETRIEVERS)}, only {known}"
        )
    return next(stage for stage in reversed(STAGES) if stage in known)


def _ends_in_collapser(pipeline: Pipeline) -> bool:
    """Return whether a pipeline has a collapser, and not before a ranker or joiner, where it thins out the candidates."""
    return COLLAPSER in pipeline.graph and not set(pipeline.graph.successors(COLLAPSER)) & set(STAGES)


def _overlaps(query: str, sentences: Sequence[str]) -> list[float]:
    """Score sentences by the words that they share with the query; a word counts the more, the fewer of them have it."""
    words = [set(_WORD.findall(sentence.lower())) for sentence in sentences]
    shared = [set(_WORD.findall(query.lower())) & own for own in words]
    frequency = Counter(word for own in shared for word in own)
    return [sum(log(1 + len(sentences) / frequency[word]) for word in own) for own in shared]
