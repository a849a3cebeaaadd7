"""The judgements of an index: a store's access to their tables, one transaction a call."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from haystack.dataclasses import Document

from rerank_plugin.checks import shown
from rerank_plugin.collections.runs import document_key
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.session import Session
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.sqlite.judgements import ContentKey, HistoryEntry, StoredQuery

_ID_CHARACTERS = 12


@dataclass(frozen=True)
class NewQuery:
    """
    A query to be added.

    :param text: The query.
    :param id: Its id; `None`: one is made from the text.
    :param metadata: Further fields.
    """

    text: str
    id: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class JudgementSnapshot:
    """
    What was judged, as of one point in time.

    :param queries: The queries, by their rows.
    :param sets: The rows of the queries of each set.
    :param history: The history, oldest first.
    """

    queries: Mapping[int, StoredQuery]
    sets: Mapping[str, list[int]]
    history: list[HistoryEntry]


class JudgementRecords:
    """
    The tables of judgements of a store. What a method has written is on disk when it returns.

    :param session: The store's session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def snapshot(self) -> JudgementSnapshot:
        """
        Return everything.

        :raises StoreError: If the index cannot be read.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            table = handle.database.judgements
            queries = {query.row: query for query in table.queries()}
            return JudgementSnapshot(queries, table.sets(), list(table.history()))

    def of_query(self, text: str) -> list[HistoryEntry]:
        """
        Return the history of a query, oldest first.

        :param text: The query.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            query = handle.database.judgements.find_query(text=text)
            return [] if query is None else list(handle.database.judgements.history(query=query.row))

    def contents(self, document_ids: Collection[str]) -> dict[str, ContentKey]:
        """
        Return the keys of what stands in documents now.

        :param document_ids: Their ids; those that there are not are left out.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            return _contents(handle.database, document_ids)

    def document_keys(self, document_ids: Collection[str]) -> dict[str, str]:
        """
        Return the ids by which evaluations know documents: see `collections.runs.document_key`.

        :param document_ids: Their ids in the index; those that there are not are left out.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            documents = _documents(handle.database, document_ids)
            return {document.id: document_key(document) for document in documents}

    def documents_with(self, keys: Iterable[ContentKey]) -> dict[ContentKey, list[str]]:
        """
        Find documents by their contents; see `JudgementTable.documents_with`.

        :param keys: Keys of contents.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            return handle.database.judgements.documents_with(keys)

    def add_queries(self, queries: Iterable[NewQuery], *, to: str) -> int:
        """
        Add queries to a set: all of them or, if one is refused, none. A query that is in the set already stays where it is.

        :param queries: The queries.
        :param to: Name of the set.
        :returns: How many of them were not in the set before.
        :raises InvalidValueError: If an id stands for another query already.
        """
        with self._session.writing() as handle:
            table = handle.database.judgements
            added = sum(table.add_to_set(to, _row_of(handle.database, query)) for query in queries)
            if added:
                handle.database.changes.next_judgement()
            return added

    def append(self, query: str, entries: Iterable[HistoryEntry], *, to: str) -> list[HistoryEntry]:
        """
        Grade documents for a query, which is added to a set if it is in none.

        :param query: The query.
        :param entries: The grades; `id`, `time`, `query` and `content` are set here.
        :param to: Name of the set for a query that is not known yet.
        :returns: The entries as stored.
        :raises InvalidValueError: If there is no such document.
        """
        with self._session.writing() as handle:
            database, given = handle.database, list(entries)
            contents = _contents(database, {entry.document_id for entry in given})
            for entry in given:
                if entry.document_id not in contents:
                    raise InvalidValueError(
                        f"there is no document {shown(entry.document_id)} in this index: judge hits of a search of it"
                    )
            is_new = database.judgements.find_query(text=query) is None
            row = _row_of(database, NewQuery(query))
            if is_new:
                database.judgements.add_to_set(to, row)
            stored = []
            for entry in given:
                whole = replace(entry, time=_now(), query=row, content=contents[entry.document_id])
                stored.append(replace(whole, id=database.judgements.append(whole)))
            database.changes.next_judgement()
            return stored

    def undo(self, judge: str) -> tuple[HistoryEntry, StoredQuery] | None:
        """
        Take back the last grade of a judge that was not taken back yet, as if it had never been given. Clicks stay.

        :param judge: The judge.
        :returns: The grade that was taken back, and its query; `None` if there is none left.
        """
        with self._session.writing() as handle:
            table = handle.database.judgements
            history = list(table.history(judge=judge))
            undone = {entry.undoes for entry in history}
            last = next((e for e in reversed(history) if e.undoes is None and not e.weak and e.id not in undone), None)
            if last is None:
                return None
            table.append(replace(last, time=_now(), grade=None, undoes=last.id, shown="{}"))
            handle.database.changes.next_judgement()
            return last, next(query for query in table.queries() if query.row == last.query)


def _row_of(database: Database, query: NewQuery) -> int:
    """Return the row of a query, which is added if it is new."""
    table = database.judgements
    known = table.find_query(text=query.text)
    if known is not None:
        return known.row
    name = sha256(query.text.encode()).hexdigest()[:_ID_CHARACTERS] if query.id is None else query.id
    other = table.find_query(query_id=name)
    if other is not None:
        raise InvalidValueError(
            f"the id {shown(name)} of the query {shown(query.text)} stands for another query in this index, "
            f"{shown(other.text)}: give it another id"
        )
    return table.add_query(name, query.text, json.dumps(dict(query.metadata or {}), ensure_ascii=False))


def _contents(database: Database, document_ids: Collection[str]) -> dict[str, ContentKey]:
    return {document.id: ContentKey.of(document.content) for document in _documents(database, document_ids)}


def _documents(database: Database, document_ids: Collection[str]) -> Iterator[Document]:
    rows = database.documents.rows_of(list(document_ids))
    for _, document in database.documents.read(list(rows.values()), embeddings=False):
        yield document


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
