"""
One document store for all components of a pipeline that name the same one.

Haystack makes a store for each component. For a server that is one connection more; what is in a folder, such as Qdrant
without a server, can often be opened only once.
"""

from typing import TYPE_CHECKING, Any

from rerank_plugin.pipelines.stores import STORE_TYPE

if TYPE_CHECKING:
    from haystack import Pipeline

# Where components of Haystack and its integrations keep their store.
_ATTRIBUTES = ("document_store", "_document_store")


def share_stores(pipeline: "Pipeline", *opened: Any) -> None:
    """
    Give components whose stores have the same parameters the same store. Stores of ours share what they have open anyway.

    :param pipeline: The pipeline, not yet used.
    :param opened: Stores that the components shall use instead of their own.
    """
    known: list[tuple[dict[str, Any], Any]] = [(store.to_dict(), store) for store in opened]
    for _, component in pipeline.walk():
        for name in _ATTRIBUTES:
            store: Any = getattr(component, name, None)
            if not hasattr(store, "write_documents") or not hasattr(store, "to_dict"):
                continue
            described = store.to_dict()
            if described.get("type") == STORE_TYPE:
                continue
            other = next((other for parameters, other in known if parameters == described), None)
            if other is None:
                known.append((described, store))
            elif other is not store:
                setattr(component, name, other)
