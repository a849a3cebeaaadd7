"""
Passages that occur several times in the indexed files, and are stored once.

The document of such a passage has the id and meta of its first place, by path, page and section. Its meta lists the other
places in `also_in`. Whatever was indexed in whatever order, the documents are therefore the same.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from haystack.dataclasses import Document

from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.sqlite.places import Place
from rerank_plugin.store.sqlite.records import decode_meta, encode, encode_meta

ALSO_IN = "also_in"
# The meta fields that tell a reader where a passage is.
_LISTED = ("source", "page", "section")
# Larger whole numbers are no floats.
_MAX_NUMBER = 2**53


class SharedPassages:
    """
    Keeps the documents of shared passages, and where these occur, in step. Use inside a transaction.

    :param database: The open database.
    """

    def __init__(self, database: Database) -> None:
        self._documents = database.documents
        self._places = database.places
        self._fields = database.settings.read().search_fields or SearchFields()

    def replace_files(self, sources: Iterable[str], old: Collection[int], new: Sequence[int] = ()) -> int:
        """
        Remove the older passages of files, and merge the newer ones with equal ones. A passage that occurs elsewhere stays.

        :param sources: The files.
        :param old: Rows of the documents that have their first place in an older version of these files.
        :param new: Rows of the documents that were written since; empty where nothing shall be merged.
        :returns: How many of the new documents were merged into another one.
        """
        touched = self._places.remove_files(sources)
        left = self._places.shared(old)
        self._documents.delete([row for row in old if row not in left])
        merged = self._merge(new, without_first=left)
        self._rewrite({*touched, *left, *merged.values()}.difference(merged), without_first=left)
        return len(merged.keys() & set(new))

    def hand_over(self, replaced: Mapping[int, Document]) -> set[int]:
        """
        Leave shared passages to their other places before their document is overwritten with another passage.

        :param replaced: Rows of documents, and what will be written in their place.
        :returns: The rows that must not be overwritten: they now have the id of another place.
        """
        left = {
            row
            for row, document in self._documents.read(list(self._places.shared(replaced)), embeddings=False)
            if _file(document)
            and (self._text(document), _file(document)) != (self._text(replaced[row]), _file(replaced[row]))
        }
        self._rewrite(left, without_first=left)
        return left

    def list_places(self, rows: Iterable[int]) -> None:
        """
        List the other places of shared passages in the meta of their documents again, after these were overwritten.

        :param rows: Rows of documents, shared or not.
        """
        self._rewrite(self._places.shared(list(rows)), without_first=())

    def _merge(self, new: Sequence[int], *, without_first: Collection[int]) -> dict[int, int]:
        """Merge equal passages; return the rows of the documents that were merged, and the row each was merged into."""
        keys = self._keys(new)
        for row, key in self._keys(self._places.rows_with(list(set(keys.values())))).items():
            keys[row] = key  # as it is now, not as it was when it was recorded
        groups: dict[bytes, list[int]] = {}
        for row in sorted(keys):
            groups.setdefault(keys[row], []).append(row)
        merged = {row: kept for kept, *others in groups.values() for row in others}
        places = [
            _place(document, merged[row])
            for row, document in self._documents.read(list(merged), embeddings=False)
            if row not in without_first
        ]
        for row, kept in merged.items():
            self._places.move(row, kept)
        self._places.add(places)
        self._documents.delete(list(merged))
        self._places.put_keys((row, keys[row]) for row in set(new) & keys.keys() - merged.keys())
        return merged

    def _rewrite(self, rows: Collection[int], *, without_first: Collection[int]) -> None:
        """Give documents the id and meta of what is now their first place; delete those that have no place left."""
        changed, gone = [], []
        for row, document in self._documents.read(list(rows), embeddings=False):
            if _file(document) is None:  # somebody else's document now: it stays
                continue
            if row not in without_first:
                self._places.add([_place(document, row)])
            first = self._take_first(row)
            if first is None:
                gone.append(row)
                continue
            meta, others = decode_meta(first.meta), self._places.listed(row)
            changed.append((row, replace(document, id=first.id, meta={**meta, ALSO_IN: others} if others else meta)))
        self._documents.delete(gone)
        if changed:
            self._documents.update_meta([(row, encode(document, self._fields)) for row, document in changed])

    def _take_first(self, row: int) -> Place | None:
        while place := self._places.take_first(row):
            # Otherwise the passage is stored there on its own: an interrupted run had begun to read its file again.
            if self._documents.rows_of([place.id]).get(place.id, row) == row:
                return place
        return None

    def _keys(self, rows: Sequence[int]) -> dict[int, bytes]:
        """Return the key of each passage with a text: equal if what is searched and embedded is equal."""
        keys = {}
        for row, document in self._documents.read(rows):
            if document.content is not None and _file(document):
                embedded = [document.meta.get("embedded_as"), document.embedding is not None]
                text = json.dumps([*self._text(document), *embedded], default=str)
                keys[row] = hashlib.sha256(text.encode()).digest()[:16]
        return keys

    def _text(self, document: Document) -> tuple[Any, ...]:
        return document.content, document.meta.get("title"), self._fields.text(document.meta, document.content)


def _file(document: Document) -> tuple[str, str] | None:
    """Return path and fingerprint of the file in which a passage has its first place; `None` for other documents."""
    source, fingerprint = document.meta.get("source"), document.meta.get("source_fingerprint")
    return (source, fingerprint) if isinstance(source, str) and isinstance(fingerprint, str) else None


def _place(document: Document, row: int) -> Place:
    """Return the first place of a document, as another place of the document in a row."""
    meta = {name: value for name, value in document.meta.items() if name != ALSO_IN}
    listed = {name: meta[name] for name in _LISTED if meta.get(name) is not None}
    return Place(
        row=row,
        source=meta["source"],
        page=_number(meta.get("page")),
        section=str(meta.get("section") or ""),
        position=_number(meta.get("split_id")),
        id=document.id,
        fingerprint=meta["source_fingerprint"],
        listed=encode_meta(listed, document.id),
        meta=encode_meta(meta, document.id),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < _MAX_NUMBER else -1.0
