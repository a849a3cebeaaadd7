"""Writing a batch of documents: all are checked first, then all are stored in one transaction, or none."""

from collections import Counter
from collections.abc import Sequence

from haystack.dataclasses import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.shared_passages import SharedPassages
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.sqlite.documents import Entry
from rerank_plugin.store.sqlite.records import check_dimension, encode, encode_vectors


def check_policy(policy: DuplicatePolicy) -> None:
    """
    Check a duplicate policy.

    :param policy: The policy.
    :raises InvalidValueError: If it is not a DuplicatePolicy.
    """
    if not isinstance(policy, DuplicatePolicy):
        raise InvalidValueError(f"policy must be a DuplicatePolicy, got {shown(policy)}")


class Batch:
    """Documents encoded as rows."""

    def __init__(self, documents: Sequence[Document], embedding_dim: int | None, search_fields: SearchFields) -> None:
        """
        Check and encode the documents.

        :param documents: The documents.
        :param embedding_dim: Length of the vectors, if the store was given one.
        :param search_fields: The fields that keyword search covers in the index.
        :raises InvalidValueError: If a document cannot be stored.
        """
        self.search_fields = search_fields
        self._documents = documents
        self._embedding_dim, self._vectors = encode_vectors(documents, embedding_dim)
        self._records = [
            encode(document, search_fields, vector) for document, vector in zip(documents, self._vectors, strict=True)
        ]

    def store(self, database: Database, policy: DuplicatePolicy) -> int:
        """
        Store the documents. Call inside a transaction.

        :param database: The database to write to.
        :param policy: What to do with an id that already exists, in the index or in the batch; `NONE` means `FAIL`.
        :returns: The number of documents written, as Haystack's DocumentStore protocol defines it.
        :raises DuplicateDocumentError: If an id exists and the policy is `FAIL`.
        :raises InvalidValueError: If the vectors differ in length from those of the index.
        """
        existing = database.documents.rows_of([record.id for record in self._records])
        shared = SharedPassages(database)
        if policy == DuplicatePolicy.OVERWRITE:
            replaced = {existing[document.id]: document for document in self._documents if document.id in existing}
            left = shared.hand_over(replaced)
            existing = {name: row for name, row in existing.items() if row not in left}
        entries = self._resolve(existing, policy)
        self._set_dimension(database)
        if entries:
            database.documents.put(entries)
            shared.list_places(row for row, _, _ in entries if row is not None)
        return len(self._records) if policy == DuplicatePolicy.OVERWRITE else len(entries)

    def _resolve(self, existing: dict[str, int], policy: DuplicatePolicy) -> list[Entry]:
        """Return the entries to write under the policy, one per id."""
        if policy == DuplicatePolicy.OVERWRITE:
            last = {record.id: (record, vector) for record, vector in zip(self._records, self._vectors, strict=True)}
            return [(existing.get(name), record, vector) for name, (record, vector) in last.items()]
        if policy == DuplicatePolicy.SKIP:
            first: dict[str, Entry] = {}
            for record, vector in zip(self._records, self._vectors, strict=True):
                if record.id not in existing:
                    first.setdefault(record.id, (None, record, vector))
            return list(first.values())
        repeated = [name for name, count in Counter(record.id for record in self._records).items() if count > 1]
        for name, place in [
            *((name, "in the index") for name in existing),
            *((name, "in the batch") for name in repeated),
        ]:
            raise DuplicateDocumentError(
                f"ID '{name}' already exists {place}: nothing was written; use DuplicatePolicy.SKIP or OVERWRITE"
            )
        return [(None, record, vector) for record, vector in zip(self._records, self._vectors, strict=True)]

    def _set_dimension(self, database: Database) -> None:
        """Check the length of the vectors against the index, or store it if these are the first vectors."""
        if self._embedding_dim is None or all(vector is None for vector in self._vectors):
            return
        known = database.settings.embedding_dim
        if known is None:
            database.settings.set("embedding_dim", self._embedding_dim)
            return
        first = next(r.id for r, vector in zip(self._records, self._vectors, strict=True) if vector is not None)
        check_dimension(self._embedding_dim, known, f"the embedding of document {shown(first)}")
