"""The common base of the two retrievers of a HybridDocumentStore."""

from typing import Any, Self

from haystack import default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from rerank_plugin.checks import check_count, check_flag, shown
from rerank_plugin.components.index_checks import IndexChecks
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.document_store import HybridDocumentStore

Filters = dict[str, Any]


class StoreRetriever:
    """Parameters, filters and lifetime of a retriever; a subclass adds `run`."""

    def __init__(
        self,
        document_store: HybridDocumentStore,
        *,
        top_k: int,
        filters: Filters | None,
        filter_policy: str | FilterPolicy,
        scale_score: bool,
    ) -> None:
        if not isinstance(document_store, HybridDocumentStore):
            raise TypeError(
                f"document_store must be a HybridDocumentStore, got {type(document_store).__name__}: other stores need "
                "their own retrievers"
            )
        if filters is not None and not isinstance(filters, dict):
            raise InvalidValueError(f"filters must be a dictionary or None, got {shown(filters)}")
        self.document_store = document_store
        self._checks = IndexChecks(document_store)
        self.top_k = check_count("top_k", top_k)
        self.filters = filters
        self.filter_policy = _policy(filter_policy)
        self.scale_score = check_flag("scale_score", scale_score)

    def _own_parameters(self) -> dict[str, Any]:
        """Return the parameters specific to this kind of retriever."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary, for a pipeline's YAML."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            top_k=self.top_k,
            filters=self.filters,
            filter_policy=self.filter_policy.value,
            scale_score=self.scale_score,
            **self._own_parameters(),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """
        Build the component from the output of `to_dict`.

        :param data: The dictionary.
        """
        return default_from_dict(cls, data)

    def close(self) -> None:
        """Close the files of the store; the next query opens them again."""
        self.document_store.close()

    def _options(self, filters: Filters | None, top_k: int | None, scale_score: bool | None) -> dict[str, Any]:
        """Return the options of a search: the values given to `run`, or else those of the component."""
        if filters is not None and not isinstance(filters, dict):
            raise InvalidValueError(f"filters must be a dictionary or None, got {shown(filters)}")
        return {
            "filters": apply_filter_policy(self.filter_policy, self.filters, filters),
            "top_k": self.top_k if top_k is None else top_k,
            "scale_score": self.scale_score if scale_score is None else check_flag("scale_score", scale_score),
        }


def _policy(value: Any) -> FilterPolicy:
    if isinstance(value, FilterPolicy):
        return value
    choices = [policy.value for policy in FilterPolicy]
    if not isinstance(value, str) or value.lower() not in choices:
        raise InvalidValueError(f"unknown filter_policy {shown(value)}: choose one of {choices}")
    return FilterPolicy.from_str(value)
