"""Ask a pipeline a question: feed its components by their names, and say what each stage did."""

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
# The last of these that a pipeline has gives its result.
STAGES = (*RETRIEVERS, "joiner", "ranker")
TEXT_INPUTS = {"bm25_retriever": "query", "text_embedder": "text", "ranker": "query"}

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class Hit:
    """
    A document of a result.

    :param document: The document, with the score of the last stage.
    :param rank: Its place in the result, from 1.
    :param first_stage_rank: Its place among the candidates, from 1; `None` where there is no second stage.
    :param first_stage_score: Its score among the candidates.
    :param sentence: The sentence that answers best; empty where it was not asked for.
    """

    document: Document
    rank: int
    first_stage_rank: int | None = None
    first_stage_score: float | None = None
    sentence: str = ""

    @property
    def title(self) -> str:
        """The document's title, or else the name of its source."""
        return str(self.document.meta.get("title") or self.document.meta.get("source") or self.document.id)


@dataclass(frozen=True)
class SearchResult:
    """
    The answer to a query.

    :param hits: Best first.
    :param milliseconds: Wall-clock time of each component, in the order of the pipeline.
    """

    hits: list[Hit]
    milliseconds: dict[str, float]


class Searcher:
    """
    Runs queries through a pipeline whose components have the names of our own pipelines.

    :param pipeline: A pipeline from `load_pipeline`.
    :param result_of: The component whose `documents` are the result; `None`: the last of `STAGES` that the pipeline has.
    :raises PipelineConfigError: If it has no retriever of a known name.
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

        :raises StoreError: If the index holds no documents.
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
        Answer a query.

        :param query: The query.
        :param top_k: Most hits; `None` means as the pipeline says.
        :param candidates: How many documents the first stage hands to the second; `None` means as the pipeline says.
        :param filters: Haystack filters; `None` means as the pipeline says.
        :param sentences: Look for the sentence that answers best, in each hit.
        :returns: The hits, and the time of each component.
        :raises InvalidValueError: If the query is empty or no text, or a number is below 1.
        :raises RerankError: What a component of ours raises.
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
                raise error.__cause__ from None  # Haystack wraps what a component raises; the inner error says what to do
            raise
        documents: list[Document] = output[self._last]["documents"]
        return documents

    def _inputs(
        self, query: str, top_k: int | None, candidates: int | None, filters: dict[str, Any] | None
    ) -> dict[str, dict[str, Any]]:
        """Give every component of a known name its part. Only the last stage cuts to `top_k`."""
        inputs: dict[str, dict[str, Any]] = {}
        for name in self._names:
            part: dict[str, Any] = {}
            if name in TEXT_INPUTS:
                part[TEXT_INPUTS[name]] = query
            if name in STAGES:
                limit = top_k if name == self._last else candidates
                if limit is not None:
                    part["top_k"] = limit
            if name in RETRIEVERS and filters is not None:
                part["filters"] = filters
            if part:
                inputs[name] = part
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
    Say which component of a pipeline gives its result.

    :param names: Of its components.
    :param pipeline: What the error calls it.
    :returns: The last of `STAGES` that it has.
    :raises PipelineConfigError: If it has no retriever of a known name.
    """
    known = list(names)
    if not set(RETRIEVERS) & set(known):
        raise PipelineConfigError(
            f"{pipeline} cannot search: it has no component named {' or '.join(RETRIEVERS)}, only {known}"
        )
    return next(stage for stage in reversed(STAGES) if stage in known)


def split_sentences(text: str) -> list[str]:
    """Cut a text at the ends of its sentences and at line breaks."""
    return [sentence.strip() for sentence in SENTENCE_END.split(text) if sentence.strip()]
