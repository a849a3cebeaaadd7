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
_SHOWN = ("source", "page", "section")


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
        left = self._places.of(old).keys()
        self._documents.delete([row for row in old if row not in left])
        merged = self._merge(new, without_first=left)
        self._rewrite({*touched, *left, *merged.values()}.difference(merged), without_first=left)
        return len(merged)

    def hand_over(self, replaced: Mapping[int, Document]) -> set[int]:
        """
        Leave shared passages to their other places before their document is overwritten with another passage.

        :param replaced: Rows of documents, and what will be written in their place.
        :returns: The rows that must not be overwritten: they now have the id of another place.
        """
        left = {
            row
            for row, document in self._documents.read(list(self._places.of(replaced)), embeddings=False)
            if (self._text(document), _file(document)) != (self._text(replaced[row]), _file(replaced[row]))
        }
        self._rewrite(left, without_first=left)
        return left

    def list_places(self, rows: Iterable[int]) -> None:
        """
        List the other places of shared passages in the meta of their documents again, after these were overwritten.

        :param rows: Rows of documents, shared or not.
        """
        self._rewrite(self._places.of(list(rows)).keys(), without_first=())

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
            _first_place(document, merged[row])
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
        others = self._places.of(rows)
        # A place whose id is a document of its own is stored there: an interrupted run had begun to read its file again.
        own = self._documents.rows_of([place.id for places in others.values() for place in places])
        changed, rest, gone = [], [], []
        for row, document in self._documents.read(list(rows), embeddings=False):
            if _file(document) is None:  # somebody else's document now: it stays, and its files are indexed again
                continue
            places = [place for place in others.get(row, []) if place.id not in own]
            if row not in without_first:
                places.append(_first_place(document, row))
            if places:
                first, *further = sorted(places, key=_order)
                changed.append((row, replace(document, id=first.id, meta=_meta(first, further))))
                rest += further
            else:
                gone.append(row)
        self._documents.delete(gone)
        self._places.remove(list(rows))
        self._places.add(rest)
        if changed:
            self._documents.update_meta([(row, encode(document, self._fields)) for row, document in changed])

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


def _first_place(document: Document, row: int) -> Place:
    meta = {name: value for name, value in document.meta.items() if name != ALSO_IN}
    return Place(row, meta["source"], meta["source_fingerprint"], document.id, encode_meta(meta, document.id))


def _meta(first: Place, others: Sequence[Place]) -> dict[str, Any]:
    """Return the meta of a document by its places."""
    meta = decode_meta(first.meta)
    if others:
        places = (decode_meta(place.meta) for place in others)
        meta[ALSO_IN] = [{name: place[name] for name in _SHOWN if place.get(name) is not None} for place in places]
    return meta


def _order(place: Place) -> tuple[Any, ...]:
    """Return the sort key of a place: path, page and section, then its position in the section."""
    meta = decode_meta(place.meta)
    page, position = (value if isinstance(value, (int, float)) else -1 for value in map(meta.get, ("page", "split_id")))
    return place.source, page, str(meta.get("section") or ""), position, place.id
