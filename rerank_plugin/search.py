"""Running queries through any pipeline: its open sockets are fed, and the effect of each stage is reported."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from haystack import Document, Pipeline

from rerank_plugin.checks import check_count, check_flag, check_number, check_text
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.components.ranking import FIRST_STAGE_RANK, FIRST_STAGE_SCORE
from rerank_plugin.components.result_collapser import ResultCollapser
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.pipelines.feeding import TOP_K, Depths, Inputs
from rerank_plugin.pipelines.parts import document_stores
from rerank_plugin.pipelines.running import PipelinePart, joined_documents
from rerank_plugin.pipelines.shape import RERANK, PipelineShape, shape_of
from rerank_plugin.pipelines.timing import stopwatch
from rerank_plugin.results import Hit, SearchResult
from rerank_plugin.sentences import shared_words, split_sentences

# The time of a collapser that the pipeline does not have has this name, and so has that of the packaged pipelines.
COLLAPSER = "collapser"
TIME_BUDGET = "time_budget_ms"

# How many documents a first stage hands on if its result is to be collapsed, and how many for each hit that is wanted.
_LEAST_HANDED_ON = 100
_HANDED_ON_PER_HIT = 3


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
    rerank: bool


@dataclass(frozen=True)
class _Answer:
    """The documents of a result, the candidates if they are known, what was left out, times, the status of the ranker."""

    documents: list[Document]
    candidates: list[Document]
    left_out: dict[str, int]
    times: dict[str, float]
    status: dict[str, Any] | None


class Searcher:
    """
    Runs queries through any pipeline that retrieves documents; only those components run that the result needs.

    Which sockets take the query and the filters, which component ranks, and where the result comes from, is told by the
    types and names of the sockets, or by the sections `inputs:` and `outputs:` of the YAML.

    :param pipeline: A pipeline, such as one from `load_pipeline`.
    :param inputs: Replaces the section `inputs:`, such as `{"query": ["retriever.query", "ranker.query"]}`.
    :param outputs: Replaces the section `outputs:`, such as `{"documents": "ranker.documents"}`.
    :param until: `result`: what a user sees. `ranked`: the list that the ranker returns or, without one, the result before
        near duplicates are collapsed.
    :param name: Name of the pipeline, for error messages.
    :raises PipelineConfigError: If it retrieves nothing, or it is ambiguous how; the message lists the choices.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        inputs: Mapping[str, str | list[str]] | None = None,
        outputs: Mapping[str, str | list[str]] | None = None,
        until: Literal["result", "ranked"] = "result",
        name: str = "the pipeline",
    ) -> None:
        self._pipeline = pipeline
        self._shape = shape_of(pipeline, inputs=inputs, outputs=outputs, name=name)
        self._whole = PipelinePart.of(pipeline, self._shape, self._shape.result if until == "result" else self._shape.ranked)
        self._collapser = self._shape.collapser if until == "result" else None

    @property
    def shape(self) -> PipelineShape:
        """The stages of the pipeline."""
        return self._shape

    @property
    def has_second_stage(self) -> bool:
        """Whether the pipeline reranks."""
        return self.ranker is not None or self._shape.inseparable is not None

    @property
    def ranker(self) -> Any:
        """The component that is the second stage; `None`: there is none, or it is inside of a component."""
        return self._component(self._shape.ranker.component) if self._shape.ranker else None

    @property
    def document_stores(self) -> list[Any]:
        """The document stores that are searched."""
        return document_stores(self._whole.pipeline)

    def warm_up(self) -> None:
        """
        Load the models and open the index.

        :raises StoreError: If a document store is empty.
        """
        for store in self.document_stores:
            if store.count_documents() == 0:
                raise StoreError(_is_empty(store))
        self._whole.pipeline.warm_up()

    def search(  # noqa: PLR0913 - what a caller may want of a search, each with a default
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
        rerank: bool = True,
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
        :param time_budget_ms: Milliseconds for the second stage, if it takes a time budget; `None`: as configured.
        :param rerank: Whether the second stage runs, if there is one. Without it, the candidates are the result.
        :returns: The hits, and the time of each component.
        :raises InvalidValueError: If the query is empty or not a string, a number is out of range, a retriever takes no
            filters, or the second stage cannot be left out.
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
        check_flag("rerank", rerank)
        request = _Request(query, top_k, candidates, filters, collapse, max_per_source, time_budget_ms, rerank)
        answer = self._answer(request)
        hits = _hits(answer)
        if sentences:
            hits = self._with_sentences(query, hits, rerank=rerank)
        return SearchResult(
            hits,
            answer.times,
            collapsed=answer.left_out.get("collapsed", 0),
            over_limit=answer.left_out.get("over_limit", 0),
            status=answer.status,
        )

    def _answer(self, request: _Request) -> _Answer:
        part = self._first_stage() if self.has_second_stage and not request.rerank else self._whole
        # A collapser of the pipeline, as part of it or, where the part ends before it, by itself.
        runs_collapser = self._collapser is not None and self._collapser in part.feeder.names
        asks_to_collapse = bool(request.collapse) or request.max_per_source is not None
        collapses = self._collapser is not None or asks_to_collapse
        with stopwatch() as watch:
            outputs = part.run(self._inputs(part, request, collapses=collapses), also=self._also_shown(part))
        times = {name: watch.milliseconds[name] for name in part.feeder.names if name in watch.milliseconds}
        documents, left_out = joined_documents(outputs, part.until), {}
        if runs_collapser:
            left_out = outputs.get(str(self._collapser), {}).get("status", {})
        elif collapses:
            began = time.perf_counter()
            collapsed = self._collapse(part, request, documents)
            documents, left_out = collapsed["documents"], collapsed["status"]
            times[self._collapser or COLLAPSER] = (time.perf_counter() - began) * 1000
        return _Answer(
            documents=documents if request.top_k is None else documents[: request.top_k],
            candidates=joined_documents(outputs, self._shape.candidates),
            left_out=left_out,
            times=times,
            status=self._status(outputs, part, request),
        )

    def _first_stage(self) -> PipelinePart:
        """Return what runs without the second stage."""
        if self._shape.ranker is None and self._whole.feeder.sockets(RERANK):
            return self._whole  # the flag leaves it out
        if self._shape.inseparable is not None:
            raise InvalidValueError(
                f"{self._shape.name} cannot be searched without its second stage: {self._shape.inseparable}"
            )
        return PipelinePart.of(self._pipeline, self._shape, self._shape.candidates)

    def _also_shown(self, part: PipelinePart) -> set[str]:
        """Return the components whose outputs are looked at besides those of the result."""
        ranker = self._shape.ranker
        if ranker is None or ranker.component not in part.feeder.names:
            return set()
        # Our ranker writes the ranks of the candidates into its documents; with others, they have to be compared.
        is_ours = isinstance(self._component(ranker.component), CrossEncoderRanker)
        return {ranker.component, *(set() if is_ours else {socket.component for socket in self._shape.candidates})}

    def _inputs(self, part: PipelinePart, request: _Request, *, collapses: bool) -> Inputs:
        """Return the inputs of a part: only what gives the result is limited to `top_k`, before a collapser to more."""
        feeder = part.feeder
        wanted = self._handed_on(part, request) if collapses else request.top_k
        ranked = None
        if wanted is not None and self._shape.ranker is not None:
            ranked = max(wanted, feeder.configured_top_k(self._shape.ranker.component) or 1)
        inputs = feeder.inputs(request.query, request.filters, Depths(request.candidates, ranked, wanted))
        extra = {TIME_BUDGET: request.time_budget_ms, RERANK: None if request.rerank else False}
        for key, value in extra.items():
            for socket in feeder.sockets(key) if value is not None else []:
                inputs.setdefault(socket.component, {})[key] = value
        if self._collapser is not None and self._collapser in feeder.names:
            limits = {TOP_K: request.top_k, "collapse": request.collapse, "max_per_source": request.max_per_source}
            given = {key: value for key, value in limits.items() if value is not None}
            inputs.setdefault(self._collapser, {}).update(given)
        return inputs

    def _collapse(self, part: PipelinePart, request: _Request, documents: list[Document]) -> dict[str, Any]:
        if self._collapser is not None:
            collapsed: dict[str, Any] = self._component(self._collapser).run(
                documents=documents, collapse=request.collapse, max_per_source=request.max_per_source, top_k=request.top_k
            )
            return collapsed
        (configured, *_) = [part.feeder.configured_top_k(socket.component) for socket in part.until]
        return {
            **ResultCollapser(
                collapse=bool(request.collapse),
                max_per_source=request.max_per_source,
                top_k=request.top_k or configured or _LEAST_HANDED_ON,
            ).run(documents=documents)
        }

    def _status(self, outputs: Mapping[str, Any], part: PipelinePart, request: _Request) -> dict[str, Any] | None:
        """Return the status of the second stage."""
        if self._shape.ranker is not None:
            status: dict[str, Any] | None = outputs.get(self._shape.ranker.component, {}).get("status")
            return status
        if not request.rerank:
            return None
        containing = [socket.component for socket in part.feeder.sockets(RERANK)]
        return next((outputs[name]["status"] for name in containing if "status" in outputs.get(name, {})), None)

    def _handed_on(self, part: PipelinePart, request: _Request) -> int:
        """Return how many documents the last stage hands to the collapser."""
        if request.candidates is not None:
            return max(request.candidates, request.top_k or 1)
        return max(*part.feeder.depths_configured(), 1, _LEAST_HANDED_ON, _HANDED_ON_PER_HIT * (request.top_k or 1))

    def _any_ranker(self) -> Any:
        """Return the second stage, also that inside of a `TwoStageRetriever`."""
        if self.ranker is not None:
            return self.ranker
        containing = (self._component(socket.component) for socket in self._whole.feeder.sockets(RERANK))
        return next((getattr(component, "ranker", None) for component in containing), None)

    def _component(self, name: str) -> Any:
        return self._shape.wiring.component(name)

    def _with_sentences(self, query: str, hits: Sequence[Hit], *, rerank: bool) -> list[Hit]:
        split = [split_sentences(hit.document.content or "") for hit in hits]
        scored = [
            list(zip(scores, sentences, strict=True))
            for scores, sentences in zip(self._sentence_scores(query, split, rerank=rerank), split, strict=True)
        ]
        best = [max(pairs, key=lambda pair: pair[0], default=(0.0, "")) for pairs in scored]
        return [replace(hit, sentence=sentence) for hit, (_, sentence) in zip(hits, best, strict=True)]

    def _sentence_scores(self, query: str, split: Sequence[Sequence[str]], *, rerank: bool) -> list[list[float]]:
        sentences = [sentence for sentences in split for sentence in sentences]
        ranker: Any = self._any_ranker() if rerank else None
        # A ranker of another library has no `logits`.
        has_logits = hasattr(ranker, "logits")
        scores = iter(ranker.logits(query, sentences) if has_logits else shared_words(query, sentences))
        return [[next(scores) for _ in sentences] for sentences in split]


def _hits(answer: _Answer) -> list[Hit]:
    """Return the documents as hits, with rank and score of the first stage where there are two."""
    before = {document.id: (rank, document.score) for rank, document in enumerate(answer.candidates, start=1)}
    hits = []
    for rank, document in enumerate(answer.documents, start=1):
        old_rank, old_score = before.get(document.id, (None, None))
        hits.append(
            Hit(
                document=document,
                rank=rank,
                first_stage_rank=document.meta.get(FIRST_STAGE_RANK, old_rank),
                first_stage_score=document.meta.get(FIRST_STAGE_SCORE, old_score),
            )
        )
    return hits


def _is_empty(store: Any) -> str:
    path = getattr(store, "path", None)
    if hasattr(store, "revision"):
        return f"the index {path} holds no documents: fill it with `rerank index`"
    return f"the {type(store).__name__} that is searched holds no documents: write some to it first"
