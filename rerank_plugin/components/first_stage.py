"""The first stage inside of a component: one retriever of any document store, or several whose results are fused."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from haystack import Document
from haystack.components.joiners import DocumentJoiner

from rerank_plugin.errors import InvalidValueError

QUERY, EMBEDDING = "query", "query_embedding"


class FirstStage:
    """
    Retrieves candidates.

    :param retrievers: The retrievers by name. Each takes `query` or `query_embedding`.
    :param text_embedder: Embeds the query; `None`: no retriever takes an embedding.
    :raises InvalidValueError: If one of them lacks the inputs or outputs of its kind.
    """

    def __init__(self, retrievers: Mapping[str, Any], text_embedder: Any) -> None:
        if not retrievers:
            raise InvalidValueError("retriever must be a retriever, or several by name: got none")
        self.retrievers = dict(retrievers)
        self.text_embedder = text_embedder
        self._inputs = {name: _check_retriever(name, part, text_embedder) for name, part in self.retrievers.items()}
        if text_embedder is not None:
            inputs, outputs = sockets_of("text_embedder", text_embedder)
            if "text" not in inputs or "embedding" not in outputs:
                raise InvalidValueError(
                    f"text_embedder must take text and return embedding; {type(text_embedder).__name__} takes "
                    f"{sorted(inputs)} and returns {sorted(outputs)}"
                )
        self._fusion = DocumentJoiner(join_mode="reciprocal_rank_fusion")

    @property
    def parts(self) -> list[Any]:
        """The components."""
        return [*self.retrievers.values(), *([] if self.text_embedder is None else [self.text_embedder])]

    def check_filters(self, filters: dict[str, Any] | None) -> None:
        """
        Check that no retriever would return what filters exclude.

        :param filters: The filters; `None`: there are none.
        :raises InvalidValueError: If there are filters, and a retriever takes none.
        """
        for name, inputs in self._inputs.items() if filters is not None else []:
            if "filters" not in inputs:
                raise InvalidValueError(f"{name} ({type(self.retrievers[name]).__name__}) takes no filters")

    def retrieve(self, query: str, filters: dict[str, Any] | None, depth: int) -> list[Document]:
        """
        Retrieve candidates.

        :param query: The query.
        :param filters: Haystack filters; `None`: as configured in the retrievers.
        :param depth: Maximum number of candidates, and of documents of each retriever.
        :returns: The candidates, best first.
        """
        embedding = None if self.text_embedder is None else self.text_embedder.run(text=query)["embedding"]
        calls = self._calls(query, embedding, filters, depth)
        return self._fused([retriever.run(**given)["documents"] for retriever, given in calls], depth)

    async def retrieve_async(self, query: str, filters: dict[str, Any] | None, depth: int) -> list[Document]:
        """
        Retrieve candidates without blocking the event loop; several retrievers search at the same time.

        :param query: See `retrieve`.
        :param filters: See `retrieve`.
        :param depth: See `retrieve`.
        :returns: See `retrieve`.
        """
        embedding = None if self.text_embedder is None else (await run_async(self.text_embedder, text=query))["embedding"]
        calls = self._calls(query, embedding, filters, depth)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run_async(retriever, **given)) for retriever, given in calls]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # callers know the errors of retrievers, not groups of them
        return self._fused([task.result()["documents"] for task in tasks], depth)

    def _calls(
        self, query: str, embedding: Any, filters: dict[str, Any] | None, depth: int
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        for name, retriever in self.retrievers.items():
            inputs = self._inputs[name]
            given: dict[str, Any] = {EMBEDDING: embedding} if EMBEDDING in inputs else {QUERY: query}
            if "top_k" in inputs:
                given["top_k"] = depth
            if filters is not None:
                given["filters"] = filters
            yield retriever, given

    def _fused(self, lists: list[list[Document]], depth: int) -> list[Document]:
        if len(lists) == 1:
            return lists[0][:depth]
        fused: list[Document] = self._fusion.run(documents=lists, top_k=depth)["documents"]
        return fused


def sockets_of(role: str, part: Any) -> tuple[set[str], set[str]]:
    """
    Return the names of a component's inputs and outputs.

    :param role: The parameter that it was given as, for the error message.
    :param part: The component.
    :raises InvalidValueError: If it is no Haystack component.
    """
    try:
        return set(part.__haystack_input__._sockets_dict), set(part.__haystack_output__._sockets_dict)
    except AttributeError:
        raise InvalidValueError(f"{role} must be a Haystack component, got {type(part).__name__}") from None


async def run_async(part: Any, **given: Any) -> Any:
    """
    Run a component without blocking the event loop, in a thread if it cannot be awaited.

    :param part: The component.
    :param given: Its inputs.
    :returns: Its outputs.
    """
    return await (part.run_async(**given) if hasattr(part, "run_async") else asyncio.to_thread(part.run, **given))


def _check_retriever(name: str, part: Any, text_embedder: Any) -> set[str]:
    """Return the inputs of a retriever."""
    inputs, outputs = sockets_of(name, part)
    if not {QUERY, EMBEDDING} & inputs or "documents" not in outputs:
        raise InvalidValueError(
            f"{name} must be a retriever, which takes query or query_embedding and returns documents; "
            f"{type(part).__name__} takes {sorted(inputs)} and returns {sorted(outputs)}"
        )
    if EMBEDDING in inputs and text_embedder is None:
        raise InvalidValueError(
            f"{name} ({type(part).__name__}) takes the embedding of the query: pass the text_embedder that embeds it with "
            "the model of the documents"
        )
    return inputs
