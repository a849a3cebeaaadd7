"""A document store of another package, through Haystack's protocol, in the terms that indexing needs."""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError

from rerank_plugin.errors import RerankError, StoreError, reason_of
from rerank_plugin.pipelines.stores import StoreAddress, address_of, open_store

MILVUS = "MilvusDocumentStore"
# Values of one `in` filter, and ids of one deletion.
_AT_A_TIME = 200

Filters = dict[str, Any]


class ForeignStore:
    """
    A document store that keeps no record of indexed files.

    Haystack's protocol has four methods. Deleting and counting by filter are used where a store has them; elsewhere the
    documents are read, and deleted by their ids. Whatever the client of a server raises becomes a `StoreError`.

    :param data: The store as in a pipeline YAML.
    :param name: Name of the pipeline, for error messages.
    :raises MissingDependencyError: If its package is not installed.
    :raises PipelineConfigError: If it cannot be made of these parameters.
    :raises StoreError: If it cannot be opened.
    """

    def __init__(self, data: Mapping[str, Any], *, name: str) -> None:
        self.address: StoreAddress = address_of(data)
        self.haystack_store: Any = open_store(data, name=name)

    def count(self, filters: Filters | None = None) -> int:
        """
        Return the number of documents.

        :param filters: Haystack filters; `None` for all documents.
        """
        with self._explained("read"):
            if filters is None:
                return int(self.haystack_store.count_documents())
            if hasattr(self.haystack_store, "count_documents_by_filter"):
                return int(self.haystack_store.count_documents_by_filter(filters))
            if self.address.class_name == MILVUS:
                return _count_in_milvus(self.haystack_store, filters)
            return len(self.haystack_store.filter_documents(filters))

    def read(self, filters: Filters | None = None) -> list[Document]:
        """
        Return documents with their embeddings.

        :param filters: Haystack filters; `None` for all documents.
        """
        with self._explained("read"):
            return list(self.haystack_store.filter_documents(filters))

    def delete(self, filters: Filters) -> None:
        """
        Delete documents.

        :param filters: Haystack filters.
        """
        with self._explained("written"):
            if hasattr(self.haystack_store, "delete_by_filter"):
                delete = self.haystack_store.delete_by_filter
                # OpenSearch and Elasticsearch otherwise go on counting what was deleted for a second.
                refresh = {"refresh": True} if "refresh" in inspect.signature(delete).parameters else {}
                delete(filters, **refresh)
                return
            # In rounds: some stores return no more than so many documents at once.
            while found := self.haystack_store.filter_documents(filters):
                self.delete_ids([document.id for document in found])

    def delete_ids(self, ids: Sequence[str]) -> None:
        """
        Delete documents; ids that do not exist are ignored.

        :param ids: Their ids.
        """
        with self._explained("written"):
            for part in parts(ids):
                self.haystack_store.delete_documents(list(part))

    def overwrite(self, documents: Sequence[Document]) -> int:
        """
        Write documents; each replaces the one that has its id.

        :param documents: The documents.
        :returns: Their number.
        """
        if not documents:
            return 0
        with self._explained("written"):
            return int(self.haystack_store.write_documents(list(documents), DuplicatePolicy.OVERWRITE))

    def close(self) -> None:
        """Release connections and files, where the store has something to release."""
        if hasattr(self.haystack_store, "close"):
            with self._explained("closed"):
                self.haystack_store.close()

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except (RerankError, FilterError):
            raise
        except Exception as error:  # clients have a class of errors each
            reason = reason_of(error.__cause__ or error, named=True)
            raise StoreError(f"{self.address} cannot be {done} ({reason}): check that it runs, and its address") from error


def parts(values: Collection[str]) -> Iterator[Sequence[str]]:
    """
    Yield values in parts that fit into one request.

    :param values: The values.
    """
    ordered = list(values)
    for start in range(0, len(ordered), _AT_A_TIME):
        yield ordered[start : start + _AT_A_TIME]


def of_file(source: str, *, fingerprint: str | None = None, others: str | None = None) -> Filters:
    """
    Return filters for the passages of a file.

    :param source: The file.
    :param fingerprint: Only those that were made of the file in this state.
    :param others: Only those that were made of it in any other state.
    """
    conditions = [{"field": "meta.source", "operator": "==", "value": source}]
    if fingerprint is not None:
        conditions.append({"field": "meta.source_fingerprint", "operator": "==", "value": fingerprint})
    if others is not None:
        conditions.append({"field": "meta.source_fingerprint", "operator": "!=", "value": others})
    return conditions[0] if len(conditions) == 1 else {"operator": "AND", "conditions": conditions}


def _count_in_milvus(store: Any, filters: Filters) -> int:
    """Count in the database: `filter_documents` returns no more than 10,000 documents, with their vectors."""
    from milvus_haystack.filters import parse_filters

    if not store.client.has_collection(store.collection_name):  # it is made by the first write
        return 0
    rows = store.client.query(store.collection_name, filter=parse_filters(filters), output_fields=["count(*)"])
    return int(rows[0]["count(*)"])
