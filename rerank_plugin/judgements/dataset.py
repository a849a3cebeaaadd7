"""An index and its judgements as a judged collection: what `rerank eval`, `calibrate`, `mine` and `train` take."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from haystack.dataclasses import Document

from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.collections.runs import document_key
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.judgements.grades import Grade
from rerank_plugin.judgements.judgements import Judgements
from rerank_plugin.store.folder import DATABASE

DEV, TEST = "dev", "test"
# A judged query is in exactly one of these.
SPLITS = (DEV, TEST)
# All judged queries together.
ALL = "all"
# What is fitted on the judgements is fitted on the queries of dev, whatever the command calls them.
SAME_AS = {"train": DEV}


def is_index(folder: Path) -> bool:
    """
    Return whether a folder is an index.

    :param folder: The folder.
    """
    return (folder / DATABASE).is_file()


def split_of(query: str) -> str:
    """
    Return the split of a query. It follows from its text alone: a query stays in its split while others are judged.

    :param query: The query.
    """
    return SPLITS[sha256(query.encode()).digest()[0] % len(SPLITS)]


def as_beir(document: Document, name: str | None = None) -> BeirDocument:
    """
    Return a document of an index as one of a collection.

    :param document: The document.
    :param name: Its id there; `None`: the one by which evaluations know it.
    """
    title = document.meta.get("title")
    metadata = {key: value for key, value in document.meta.items() if key not in ("title", "doc_id")}
    return BeirDocument(
        name or document_key(document), document.content or "", title if isinstance(title, str) else "", metadata
    )


@dataclass(frozen=True)
class IndexDataset:
    """
    The documents of an index, the queries that were judged in it, and the grades in force.

    Clicks do not count, and neither do grades of texts that have changed since. Of several passages of one document of a
    collection (equal `doc_id`) the best grade counts.

    :param folder: The index. It is read on demand.
    """

    folder: Path

    @property
    def place(self) -> Path:
        """The index, for messages."""
        return self.folder

    def documents(self) -> Iterator[BeirDocument]:
        """Yield the documents, in the order in which they were first written."""
        with closing(Judgements.open(self.folder)) as judgements:
            for document in judgements.store.read_all():
                yield as_beir(document)

    def queries(self, split: str | None = None) -> dict[str, BeirQuery]:
        """
        Return the judged queries by id, in the order in which they were added.

        :param split: Only those of this split: `dev`, `test`, or `all`; `None`: all.
        """
        return {id_: query for id_, (query, _) in self._judged(split or ALL).items()}

    def qrels(self, split: str) -> Qrels:
        """
        Return the judgements of a split: query id -> document id -> grade.

        :param split: `dev`, `test`, or `all`.
        :raises InvalidValueError: If there is no such split, or no query of it was judged.
        """
        judged = self._judged(split)
        if not judged:
            counts = {name: len(self._judged(name)) for name in SPLITS}
            raise InvalidValueError(
                f"{self.folder} has no judged queries in split {split!r} ({counts[DEV]} in dev, {counts[TEST]} in test): "
                "judge queries with `rerank judge`" + (f", or take all with --split {ALL}" if any(counts.values()) else "")
            )
        return {id_: qrels for id_, (_, qrels) in judged.items()}

    def splits(self) -> list[str]:
        """Return the splits that share no query and have any."""
        return [name for name in SPLITS if self._judged(name)]

    def fingerprints(self, split: str) -> dict[str, str]:
        """
        Return hashes of what a result depends on: `corpus`, `queries` and `judgements`.

        :param split: Split of the judgements.
        """
        judged = self._judged(split)
        with closing(Judgements.open(self.folder)) as judgements:
            corpus = judgements.store.revision()
        return {
            "corpus": corpus,
            "queries": _hash({id_: [query.text, dict(query.metadata)] for id_, (query, _) in judged.items()}),
            "judgements": _hash({id_: qrels for id_, (_, qrels) in judged.items()}),
        }

    def _judged(self, split: str) -> dict[str, tuple[BeirQuery, dict[str, int]]]:
        if split not in (*SPLITS, ALL):
            raise InvalidValueError(f"an index has no split {split!r}: choose one of {[*SPLITS, ALL]}")
        with closing(Judgements.open(self.folder)) as judgements:
            records = judgements.store.judgements
            grades = judgements.all_grades()
            keys = records.document_keys({grade.document_id for given in grades.values() for grade in given})
            queries = {query.id: query for query in records.snapshot().queries.values()}
        judged = {}
        for id_, given in grades.items():
            qrels = qrels_of(given, keys)
            if qrels and split in (ALL, split_of(queries[id_].text)):
                judged[id_] = (BeirQuery(id_, queries[id_].text, queries[id_].metadata), qrels)
        return judged


def qrels_of(grades: list[Grade], keys: Mapping[str, str]) -> dict[str, int]:
    """
    Return the judgements among the grades of a query.

    :param grades: Grades in force.
    :param keys: The ids of the documents in the collection, by their ids in the index.
    :returns: The best grade of each document; clicks and stale grades are left out.
    """
    qrels: dict[str, int] = {}
    for grade in grades:
        if not grade.weak and not grade.stale and grade.document_id in keys:
            name = keys[grade.document_id]
            qrels[name] = max(grade.grade, qrels.get(name, 0))
    return qrels


def _hash(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
