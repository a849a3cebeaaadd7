"""Running queries through a pipeline: feeds its components by name, and reports the effect of each stage."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from haystack import Document, Pipeline
from haystack.core.errors import PipelineRuntimeError

from rerank_plugin.checks import check_count, check_text
from rerank_plugin.components.ranking import FIRST_STAGE_RANK, FIRST_STAGE_SCORE
from rerank_plugin.errors import PipelineConfigError, RerankError, StoreError
from rerank_plugin.pipelines import component_names
from rerank_plugin.pipelines.timing import stopwatch

if TYPE_CHECKING:
    from rerank_plugin.components import CrossEncoderRanker

RETRIEVERS = ("bm25_retriever", "embedding_retriever")
# The result of a pipeline is the output of the last of these that it has.
STAGES = (*RETRIEVERS, "joiner", "ranker")
TEXT_INPUTS = {"bm25_retriever": "query", "text_embedder": "text", "ranker": "query"}

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class Hit:
    """
    A document of a result.

    :param document: The document, with the score of the last stage.
    :param rank: Its rank in the result, from 1.
    :param first_stage_rank: Its rank among the candidates, from 1; `None` without a second stage.
    :param first_stage_score: Its first-stage score; `None` without a second stage.
    :param sentence: Its sentence that matches the query best; empty if it was not requested.
    """

    document: Document
    rank: int
    first_stage_rank: int | None = None
    first_stage_score: float | None = None
    sentence: str = ""

    @property
    def title(self) -> str:
        """The document's title, or else its source, or else its id."""
        return str(self.document.meta.get("title") or self.document.meta.get("source") or self.document.id)


@dataclass(frozen=True)
class SearchResult:
    """
    The result of a query.

    :param hits: Best first.
    :param milliseconds: Wall-clock time of each component, in the order of the pipeline.
    """

    hits: list[Hit]
    milliseconds: dict[str, float]


class Searcher:
    """
    Runs queries through a pipeline whose components are named as in the packaged pipelines.

    :param pipeline: A pipeline from `load_pipeline`.
    :param result_of: The component whose `documents` are the result; `None`: the last of `STAGES` that the pipeline has.
    :raises PipelineConfigError: If it has no retriever with a known name.
    """

    def __init__(self, pipeline: Pipeline, *, result_of: str | None = None) -> None:
        self._pipeline = pipeline
        self._names = component_names(pipeline)
        self._last = result_of or last_stage(self._names)

    @property
    def has_second_stage(self) -> bool:
        """Whether the pipeline reranks."""
        return "ranker" in self._names

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
    ) -> SearchResult:
        """
        Run a query.

        :param query: The query.
        :param top_k: Maximum number of hits; `None`: as configured in the pipeline.
        :param candidates: Number of documents that the first stage passes to the second; `None`: as configured.
        :param filters: Haystack filters; `None`: as configured.
        :param sentences: Whether to find the sentence of each hit that matches the query best.
        :returns: The hits, and the time of each component.
        :raises InvalidValueError: If the query is empty or not a string, or a number is below 1.
        :raises RerankError: If a component of this package fails.
        """
        check_text("query", query)
        for name, value in (("top_k", top_k), ("candidates", candidates)):
            if value is not None:
                check_count(name, value)
        with stopwatch() as watch:
            documents = self._run(self._inputs(query, top_k, candidates, filters))
        hits = [
            Hit(
                document=document,
                rank=rank,
                first_stage_rank=document.meta.get(FIRST_STAGE_RANK),
                first_stage_score=document.meta.get(FIRST_STAGE_SCORE),
            )
            for rank, document in enumerate(documents, start=1)
        ]
        if sentences:
            hits = self._with_sentences(query, hits)
        return SearchResult(hits, {name: watch.milliseconds[name] for name in self._names if name in watch.milliseconds})

    def _run(self, inputs: dict[str, dict[str, Any]]) -> list[Document]:
        try:
            output = self._pipeline.run(inputs, include_outputs_from={self._last})
        except PipelineRuntimeError as error:
            if isinstance(error.__cause__, RerankError):
                raise error.__cause__ from None  # Haystack wraps component errors; the inner error names the remedy
            raise
        documents: list[Document] = output[self._last]["documents"]
        return documents

    def _inputs(
        self, query: str, top_k: int | None, candidates: int | None, filters: dict[str, Any] | None
    ) -> dict[str, dict[str, Any]]:
        """Return the inputs of every component with a known name. Only the last stage is limited to `top_k`."""
        inputs: dict[str, dict[str, Any]] = {}
        for name in self._names:
            parameters: dict[str, Any] = {}
            if name in TEXT_INPUTS:
                parameters[TEXT_INPUTS[name]] = query
            if name in STAGES:
                limit = top_k if name == self._last else candidates
                if limit is not None:
                    parameters["top_k"] = limit
            if name in RETRIEVERS and filters is not None:
                parameters["filters"] = filters
            if parameters:
                inputs[name] = parameters
        return inputs

    def _with_sentences(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        split = [split_sentences(hit.document.content or "") for hit in hits]
        scored = [
            list(zip(scores, sentences, strict=True))
            for scores, sentences in zip(self._sentence_scores(query, split), split, strict=True)
        ]
        best = [max(pairs, key=lambda pair: pair[0], default=(0.0, "")) for pairs in scored]
        return [replace(hit, sentence=sentence) for hit, (_, sentence) in zip(hits, best, strict=True)]

    def _sentence_scores(self, query: str, split: Sequence[Sequence[str]]) -> list[list[float]]:
        if not self.has_second_stage:
            words = set(re.findall(r"\w+", query.lower()))
            return [[len(words & set(re.findall(r"\w+", text.lower()))) for text in sentences] for sentences in split]
        ranker = cast("CrossEncoderRanker", self._pipeline.get_component("ranker"))
        scores = iter(ranker.logits(query, [sentence for sentences in split for sentence in sentences]))
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


def split_sentences(text: str) -> list[str]:
    """Split a text at the ends of sentences and at line breaks."""
    return [sentence.strip() for sentence in SENTENCE_END.split(text) if sentence.strip()]
