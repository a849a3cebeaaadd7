"""Judging an index: queries and their sets, grades, undo, progress."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_plugin.checks import check_choice, check_flag, check_text, shown
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.judgements.grades import GRADES, Grade, Pair, in_force, locate
from rerank_plugin.judgements.names import check_name
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.judgements import JudgementSnapshot, NewQuery
from rerank_plugin.store.sqlite.judgements import ContentKey, HistoryEntry

DEFAULT_SET = "default"
# What a judge saw is a few names and numbers; more than this is not.
_MOST_SHOWN = 10_000


@dataclass(frozen=True)
class QueryToJudge:
    """
    A query of a set.

    :param id: Its id in exports.
    :param text: The query.
    :param judged: Number of judgements in force, clicks not counted.
    """

    id: str
    text: str
    judged: int


@dataclass(frozen=True)
class SetProgress:
    """Name of a set, how many queries it has, and how many of them have a judgement."""

    name: str
    queries: int
    judged: int


@dataclass(frozen=True)
class Progress:
    """
    How far judging got.

    :param judged_queries: Queries with a judgement.
    :param queries: All queries.
    :param judgements: Judgements in force.
    :param clicks: Documents that only have a click.
    :param sets: The sets of queries.
    """

    judged_queries: int
    queries: int
    judgements: int
    clicks: int
    sets: list[SetProgress]

    def __str__(self) -> str:
        return f"{self.judged_queries:,} of {self.queries:,} queries judged"


@dataclass(frozen=True)
class Recorded:
    """
    A grade that is on disk.

    :param id: Its number in the history.
    :param query: The query.
    :param document_id: The document.
    :param grade: 0 to 3; `None`: the grade was taken back.
    :param judge: Who gave it.
    :param time: When, in ISO 8601.
    :param weak: Whether it is a guess from a click.
    """

    id: int
    query: str
    document_id: str
    grade: int | None
    judge: str
    time: str
    weak: bool


@dataclass(frozen=True)
class Judgement:
    """
    A grade to be recorded.

    :param document_id: The document: the id of a hit.
    :param grade: 0 to 3 (`grades.MEANINGS`); `None` takes back what is in force.
    :param judge: Who gives it.
    :param weak: Whether it is a guess from a click.
    :param shown: What the judge saw: pipeline, rank, stage, whether it was blind.
    """

    document_id: str
    grade: int | None
    judge: str
    weak: bool = False
    shown: Mapping[str, Any] | None = None


class Judgements:
    """
    The judgements of an index. Several processes may use them at the same time.

    :param store: The store of the index.
    """

    def __init__(self, store: HybridDocumentStore) -> None:
        self._store = store
        self._records = store.judgements
        # Where texts stand that are no longer where they were judged, as of a revision of the documents. Replaced as one
        # value, as several threads use it.
        self._moved: tuple[str, dict[ContentKey, list[str]]] = ("", {})

    @classmethod
    def open(cls, index: str | Path) -> "Judgements":
        """
        Open the judgements of an index.

        :param index: Its folder.
        :raises StoreError: If there is no index.
        """
        store = HybridDocumentStore(index)
        if not store.exists:
            raise StoreError(f"{index} holds no index to judge: fill it with `rerank index`")
        return cls(store)

    @property
    def store(self) -> HybridDocumentStore:
        """The store of the index."""
        return self._store

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def add_queries(self, queries: Iterable[NewQuery | str], *, to: str = DEFAULT_SET) -> int:
        """
        Add queries to a set, at its end: all of them or, if one is refused, none.

        :param queries: Texts, or queries with ids and metadata. White space around a text does not count.
        :param to: Name of the set, which is made if it is new.
        :returns: How many of them were not in the set before.
        :raises InvalidValueError: If a text is empty, or an id stands for another query already.
        """
        check_name("set", to)
        return self._records.add_queries([_checked(query) for query in queries], to=to)

    def queries(self, of: str | None = None) -> list[QueryToJudge]:
        """
        Return queries with the number of their judgements, in the order in which they were added.

        :param of: Name of a set; `None`: all queries. The set `default` is there from the beginning.
        :raises InvalidValueError: If there is no such set.
        """
        snapshot = self._records.snapshot()
        counts = {row: _count(entries.values()) for row, entries in _by_query(snapshot).items()}
        rows = list(snapshot.queries) if of is None else {DEFAULT_SET: [], **snapshot.sets}.get(of)
        if rows is None:
            raise InvalidValueError(f"there is no set of queries {shown(of)}: the sets are {list(snapshot.sets)}")
        queries = [snapshot.queries[row] for row in rows]
        return [QueryToJudge(query.id, query.text, counts.get(query.row, 0)) for query in queries]

    def progress(self) -> Progress:
        """Return how far judging got. Judgements of texts that have changed since count, too."""
        snapshot = self._records.snapshot()
        chosen = _by_query(snapshot)
        judged = {row for row, entries in chosen.items() if _count(entries.values())}
        sets = [SetProgress(name, len(rows), len(judged.intersection(rows))) for name, rows in snapshot.sets.items()]
        judgements = sum(_count(entries.values()) for entries in chosen.values())
        total = sum(map(len, chosen.values()))
        return Progress(len(judged), len(snapshot.queries), judgements, total - judgements, sets)

    def grades(self, query: str) -> list[Grade]:
        """
        Return the grades in force for a query.

        :param query: The query.
        :returns: At most one for each document, sorted by id; none for a query that was never judged.
        """
        chosen = in_force(self._records.of_query(query.strip()))
        return locate(chosen, self._records.contents({document_id for document_id, _ in chosen}), self._find)

    def all_grades(self) -> dict[str, list[Grade]]:
        """Return the grades in force for every query that has any, by the id of the query, in the order of the queries."""
        snapshot = self._records.snapshot()
        by_query = _by_query(snapshot)
        pairs = {pair for chosen in by_query.values() for pair in chosen}
        contents = self._records.contents({document_id for document_id, _ in pairs})
        # All at once, as looking for texts that have moved reads the whole index.
        if moved := {content for document_id, content in pairs if contents.get(document_id) != content}:
            self._find(moved)
        located = {query.id: locate(by_query.get(row, {}), contents, self._find) for row, query in snapshot.queries.items()}
        return {query: grades for query, grades in located.items() if grades}

    def judge(self, query: str, judgement: Judgement) -> Recorded:
        """
        Record a grade; it is on disk when this returns.

        :param query: The query; one that is not known yet is added to the set `default`.
        :param judgement: The grade.
        :raises InvalidValueError: If there is no such document, or a value is wrong.
        """
        (recorded,) = self.judge_all(query, [judgement])
        return recorded

    def judge_all(self, query: str, judgements: Iterable[Judgement], *, to: str = DEFAULT_SET) -> list[Recorded]:
        """
        Record several grades of a query: all of them or, if one is refused, none.

        :param query: The query.
        :param judgements: The grades.
        :param to: Name of the set for a query that is not known yet.
        :raises InvalidValueError: If there is no such document, or a value is wrong.
        """
        text = check_text("query", query).strip()
        stored = self._records.append(text, [_entry(judgement) for judgement in judgements], to=check_name("set", to))
        return [_recorded(entry, text) for entry in stored]

    def undo(self, judge: str) -> Recorded | None:
        """
        Take back the last judgement of a judge, as if it had never been given: the one before is in force again.

        :param judge: The judge.
        :returns: What was taken back; `None` if there is nothing left.
        """
        undone = self._records.undo(check_name("judge", judge))
        return None if undone is None else _recorded(undone[0], undone[1].text)

    def _find(self, keys: set[ContentKey]) -> dict[ContentKey, list[str]]:
        revision = self._store.revision()
        found_in, known = self._moved
        known = known if found_in == revision else {}
        if unknown := keys - known.keys():
            found = self._records.documents_with(unknown)
            known = {**known, **{key: found.get(key, []) for key in unknown}}
            self._moved = revision, known
        return {key: known[key] for key in keys if known[key]}


def _by_query(snapshot: JudgementSnapshot) -> dict[int, dict[Pair, HistoryEntry]]:
    histories: dict[int, list[HistoryEntry]] = {}
    for entry in snapshot.history:
        histories.setdefault(entry.query, []).append(entry)
    return {row: in_force(history) for row, history in histories.items()}


def _count(entries: Iterable[HistoryEntry]) -> int:
    return sum(not entry.weak for entry in entries)


def _checked(query: NewQuery | str) -> NewQuery:
    if isinstance(query, str):
        return NewQuery(check_text("query", query).strip())
    name = None if query.id is None else check_name("id of a query", query.id)
    return NewQuery(check_text("query", query.text).strip(), name, query.metadata)


def _entry(judgement: Judgement) -> HistoryEntry:
    if judgement.grade is not None:
        check_choice("grade", judgement.grade, GRADES)
    return HistoryEntry(
        id=0,
        time="",
        judge=check_name("judge", judgement.judge),
        query=0,
        document_id=check_text("document_id", judgement.document_id, empty=True),
        content=ContentKey.of(None),
        grade=judgement.grade,
        weak=check_flag("weak", judgement.weak),
        undoes=None,
        shown=_as_json(judgement.shown or {}),
    )


def _as_json(value: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"shown cannot be stored as JSON ({error}): pass plain names and numbers") from error
    if len(text) > _MOST_SHOWN:
        raise InvalidValueError(f"shown has {len(text)} characters of JSON: pass at most {_MOST_SHOWN}")
    return text


def _recorded(entry: HistoryEntry, query: str) -> Recorded:
    return Recorded(entry.id, query, entry.document_id, entry.grade, entry.judge, entry.time, entry.weak)
