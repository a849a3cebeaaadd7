"""TwoStageRetriever: both stages of a search as one component, over any document store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.core.serialization import component_from_dict, component_to_dict, import_class_by_name

from rerank_plugin.checks import check_count, check_flag, check_number, check_text, shown
from rerank_plugin.components.first_stage import FirstStage, run_async, sockets_of
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.components.ranking import FIRST_STAGE_RANK, FIRST_STAGE_SCORE
from rerank_plugin.errors import InvalidValueError

Filters = dict[str, Any]
COMPLETE = "complete"


@dataclass(frozen=True)
class _Call:
    """The parameters of a call, with those that were not given as configured; `ranking` is `None` without a second stage."""

    filters: Filters | None
    top_k: int
    candidates: int
    ranking: dict[str, Any] | None


class TwoStageAnswer(TypedDict):
    """What `TwoStageRetriever.run` returns."""

    documents: list[Document]
    status: dict[str, Any]


@component
class TwoStageRetriever:
    """
    Retrieves candidates and ranks them: two stages behind the interface of a retriever.

    The first stage is any retriever of any document store, or several, whose results are fused by reciprocal rank. The
    second is any ranker. It can stand wherever Haystack wants a retriever for texts: in a pipeline, a `MultiRetriever`, a
    tool.

    ```python
    from haystack import Document
    from haystack.components.retrievers import InMemoryBM25Retriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from rerank_plugin import TwoStageRetriever

    document_store = InMemoryDocumentStore()
    document_store.write_documents([Document(content="Foxes hunt at night."), Document(content="Bees sleep at night.")])
    retriever = TwoStageRetriever(InMemoryBM25Retriever(document_store), top_k=1)
    print(retriever.run(query="When do foxes hunt?")["documents"])
    ```

    :param retriever: A retriever, or several by name. Each takes `query`, or `query_embedding` from the `text_embedder`.
    :param ranker: The second stage: takes `query` and `documents`, returns `documents`. `None`: a `CrossEncoderRanker`.
    :param text_embedder: Embeds the query for the retrievers that take `query_embedding`.
    :param candidates: How many documents the first stage passes on, and how many each of its retrievers finds.
    :param top_k: Maximum number of documents to return.
    :param filters: Return only documents that match; filters given at run time replace these. `None`: as configured in the
        retrievers.
    :param rerank: Whether the second stage runs. Without it, the first of the candidates are returned.
    :raises InvalidValueError: If a part lacks the inputs or outputs of its kind, or a number is below 1.
    """

    def __init__(
        self,
        retriever: Any,
        ranker: Any = None,
        *,
        text_embedder: Any = None,
        candidates: int = 100,
        top_k: int = 10,
        filters: Filters | None = None,
        rerank: bool = True,
    ) -> None:
        self.retriever = retriever
        self.ranker = CrossEncoderRanker() if ranker is None else ranker
        self.text_embedder = text_embedder
        self.candidates = check_count("candidates", candidates)
        self.top_k = check_count("top_k", top_k)
        self.filters = _check_filters(filters)
        self.rerank = check_flag("rerank", rerank)
        several = retriever if isinstance(retriever, Mapping) else {"retriever": retriever}
        self._first_stage = FirstStage(several, text_embedder)
        self._first_stage.check_filters(filters)
        self._ranker_inputs, outputs = sockets_of("ranker", self.ranker)
        if not ({"query", "documents"} <= self._ranker_inputs and "documents" in outputs):
            raise InvalidValueError(
                f"ranker must take query and documents and return documents; {type(self.ranker).__name__} takes "
                f"{sorted(self._ranker_inputs)} and returns {sorted(outputs)}"
            )

    def warm_up(self) -> None:
        """Load the models of both stages, that of the ranker only if it runs."""
        self._warm_up(with_ranker=self.rerank)

    async def warm_up_async(self) -> None:
        """Load the models of both stages on the event loop that serves, that of the ranker only if it runs."""
        await self._warm_up_async(with_ranker=self.rerank)

    def close(self) -> None:
        """Release what the parts hold; a later `run` loads it again."""
        for part in self._parts(with_ranker=True):
            if hasattr(part, "close"):
                part.close()

    async def close_async(self) -> None:
        """Release what the parts hold for `run_async`."""
        for part in self._parts(with_ranker=True):
            if hasattr(part, "close_async"):
                await part.close_async()
            elif hasattr(part, "close"):
                part.close()

    @component.output_types(documents=list[Document], status=dict[str, Any])
    def run(
        self,
        query: str,
        filters: Filters | None = None,
        top_k: int | None = None,
        candidates: int | None = None,
        *,
        rerank: bool | None = None,
        time_budget_ms: float | None = None,
    ) -> TwoStageAnswer:
        """
        Search.

        :param query: The query.
        :param filters: Haystack filters; `None` means as configured.
        :param top_k: Maximum number of documents to return; `None` means as configured.
        :param candidates: How many documents the first stage passes on; `None` means as configured.
        :param rerank: Whether the second stage runs; `None` means as configured.
        :param time_budget_ms: Milliseconds for the second stage, if it takes a time budget; `None` means as configured.
        :returns: `documents`: best first, with the ranks and scores of the first stage in their metadata. `status`: that of
            the ranker or, where it gives none, `state`, `candidates` and `scored`.
        :raises InvalidValueError: If the query is empty, a number is below 1, or a part does not take what is given.
        """
        call = self._call(query, filters, top_k, candidates, rerank, time_budget_ms)
        self._warm_up(with_ranker=call.ranking is not None)
        found = self._first_stage.retrieve(query, call.filters, call.candidates)
        if not found or call.ranking is None:
            return _first_stage_alone(found, call.top_k)
        return _both_stages(found, self.ranker.run(query=query, documents=found, **call.ranking), call.top_k)

    @component.output_types(documents=list[Document], status=dict[str, Any])
    async def run_async(
        self,
        query: str,
        filters: Filters | None = None,
        top_k: int | None = None,
        candidates: int | None = None,
        *,
        rerank: bool | None = None,
        time_budget_ms: float | None = None,
    ) -> TwoStageAnswer:
        """
        Search without blocking the event loop; several retrievers search at the same time.

        :param query: See `run`.
        :param filters: See `run`.
        :param top_k: See `run`.
        :param candidates: See `run`.
        :param rerank: See `run`.
        :param time_budget_ms: See `run`.
        :returns: See `run`.
        :raises InvalidValueError: See `run`.
        """
        call = self._call(query, filters, top_k, candidates, rerank, time_budget_ms)
        await self._warm_up_async(with_ranker=call.ranking is not None)
        found = await self._first_stage.retrieve_async(query, call.filters, call.candidates)
        if not found or call.ranking is None:
            return _first_stage_alone(found, call.top_k)
        ranked = await run_async(self.ranker, query=query, documents=found, **call.ranking)
        return _both_stages(found, ranked, call.top_k)

    def to_dict(self) -> dict[str, Any]:
        """Return type and init parameters, for Haystack's YAML."""
        several = isinstance(self.retriever, Mapping)
        retrievers = {name: component_to_dict(part, name) for name, part in self._first_stage.retrievers.items()}
        return default_to_dict(
            self,
            retriever=retrievers if several else retrievers["retriever"],
            ranker=component_to_dict(self.ranker, "ranker"),
            text_embedder=None if self.text_embedder is None else component_to_dict(self.text_embedder, "text_embedder"),
            candidates=self.candidates,
            top_k=self.top_k,
            filters=self.filters,
            rerank=self.rerank,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TwoStageRetriever":
        """
        Build the component from the output of `to_dict`, or from YAML.

        :param data: `type` and `init_parameters`.
        :returns: The component.
        :raises InvalidValueError: If one of several retrievers is no component.
        """
        parameters = dict(data.get("init_parameters") or {})
        retriever = parameters.get("retriever")
        if isinstance(retriever, dict) and not isinstance(retriever.get("type"), str):
            parameters["retriever"] = {name: _from_yaml(name, part) for name, part in retriever.items()}
        built: TwoStageRetriever = default_from_dict(cls, {**data, "init_parameters": parameters})
        return built

    def _parts(self, *, with_ranker: bool) -> list[Any]:
        return [*self._first_stage.parts, *([self.ranker] if with_ranker else [])]

    def _warm_up(self, *, with_ranker: bool) -> None:
        for part in self._parts(with_ranker=with_ranker):
            if hasattr(part, "warm_up"):
                part.warm_up()

    async def _warm_up_async(self, *, with_ranker: bool) -> None:
        for part in self._parts(with_ranker=with_ranker):
            if hasattr(part, "warm_up_async"):
                await part.warm_up_async()
            elif hasattr(part, "warm_up"):
                part.warm_up()

    def _call(
        self,
        query: str,
        filters: Filters | None,
        top_k: int | None,
        candidates: int | None,
        rerank: bool | None,
        time_budget_ms: float | None,
    ) -> _Call:
        check_text("query", query)
        filters = self.filters if filters is None else _check_filters(filters)
        self._first_stage.check_filters(filters)
        wanted = self.top_k if top_k is None else check_count("top_k", top_k)
        # Unless the caller says how many candidates there should be, there are enough for the result that is wanted.
        depth = max(self.candidates, wanted) if candidates is None else check_count("candidates", candidates)
        ranking: dict[str, Any] = {"top_k": wanted} if "top_k" in self._ranker_inputs else {}
        if time_budget_ms is not None:
            if "time_budget_ms" not in self._ranker_inputs:
                raise InvalidValueError(f"the ranker, a {type(self.ranker).__name__}, takes no time_budget_ms: leave it out")
            ranking["time_budget_ms"] = check_number("time_budget_ms", time_budget_ms, above=0)
        reranks = self.rerank if rerank is None else check_flag("rerank", rerank)
        return _Call(filters, wanted, depth, ranking if reranks else None)


def _first_stage_alone(found: Sequence[Document], top_k: int) -> TwoStageAnswer:
    return {"documents": list(found[:top_k]), "status": {"state": COMPLETE, "candidates": len(found), "scored": 0}}


def _both_stages(found: Sequence[Document], answer: Mapping[str, Any], top_k: int) -> TwoStageAnswer:
    """Return the answer of the ranker, each document with its rank and score in the first stage."""
    before = {document.id: (rank, document.score) for rank, document in enumerate(found, start=1)}
    documents = [_with_first_stage(document, before.get(document.id)) for document in answer["documents"][:top_k]]
    status = answer.get("status") or {"state": COMPLETE, "candidates": len(found), "scored": len(found)}
    return {"documents": documents, "status": dict(status)}


def _with_first_stage(document: Document, before: tuple[int, float | None] | None) -> Document:
    """Return a document with its rank and score in the first stage, unless the ranker has written them already."""
    if before is None or FIRST_STAGE_RANK in document.meta:
        return document
    rank, score = before
    return replace(document, meta={**document.meta, FIRST_STAGE_SCORE: score, FIRST_STAGE_RANK: rank})


def _check_filters(filters: Any) -> Filters | None:
    if filters is not None and not isinstance(filters, dict):
        raise InvalidValueError(f"filters must be a dictionary or None, got {shown(filters)}")
    return filters


def _from_yaml(name: str, data: Any) -> Any:
    """Build one of several retrievers."""
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        return data  # a component that Python code put there; the check of the constructor names what is none
    return component_from_dict(import_class_by_name(data["type"]), dict(data), name)
