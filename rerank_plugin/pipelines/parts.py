"""Parts of a pipeline that is already built: some of its components, and the document stores that it searches."""

from collections.abc import Collection, Iterator
from copy import copy
from typing import Any

from haystack import Pipeline


def part_of(pipeline: Pipeline, names: Collection[str]) -> Pipeline:
    """
    Return a pipeline of some of the components, which both share, with the models that they have loaded.

    :param pipeline: The pipeline; left unchanged.
    :param names: The components. With each must come all whose output reaches it.
    """
    others = [name for name in pipeline.graph if name not in names]
    if not others:
        return pipeline
    part = copy(pipeline)
    part.graph = pipeline.graph.copy()
    part.graph.remove_nodes_from(others)
    return part


def document_stores(pipeline: Pipeline) -> list[Any]:
    """Return the document stores of a pipeline, also those of components inside of components; each once."""
    stores: dict[int, Any] = {}
    for _, component in pipeline.walk():
        stores |= {id(store): store for store in _stores(component, set())}
    return list(stores.values())


def _stores(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if hasattr(value, "count_documents") and hasattr(value, "filter_documents"):
        yield value
    elif isinstance(value, Pipeline):
        for _, component in value.walk():
            yield from _stores(component, seen)
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _stores(inner, seen)
    elif hasattr(value, "__haystack_input__"):
        yield from _stores(vars(value), seen)
