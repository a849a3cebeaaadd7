"""Which grades are in force: the history of a query, read to its end."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from rerank_plugin.store.sqlite.judgements import ContentKey, HistoryEntry

GRADES = (0, 1, 2, 3)
MEANINGS = ("not relevant", "related", "relevant", "answers it")


@dataclass(frozen=True)
class Grade:
    """
    A grade in force.

    :param document_id: The document that has the judged text now; if none has it, the id that it had.
    :param grade: 0 to 3.
    :param judge: Who gave it.
    :param time: When, in ISO 8601.
    :param weak: Whether it is a guess from a click.
    :param stale: Whether no document has the judged text any longer: it was changed or removed.
    """

    document_id: str
    grade: int
    judge: str
    time: str
    weak: bool = False
    stale: bool = False


Pair = tuple[str, ContentKey]
"""The id of a document, and what stood in it."""


def in_force(history: Iterable[HistoryEntry]) -> dict[Pair, HistoryEntry]:
    """
    Return the entry in force for each judged document of a query: the last one wins, and a judgement over any click.

    :param history: The history of one query, oldest first.
    :returns: Entries with a grade.
    """
    entries = list(history)
    undone = {entry.undoes for entry in entries if entry.undoes is not None}
    last: dict[tuple[Pair, bool], HistoryEntry] = {}
    for entry in entries:
        if entry.undoes is None and entry.id not in undone:
            last[(entry.document_id, entry.content), entry.weak] = entry
    chosen: dict[Pair, HistoryEntry] = {}
    for (pair, weak), entry in last.items():
        if entry.grade is not None and (not weak or pair not in chosen):
            chosen[pair] = entry
    return chosen


def locate(
    chosen: Mapping[Pair, HistoryEntry],
    contents: Mapping[str, ContentKey],
    find: Callable[[set[ContentKey]], Mapping[ContentKey, list[str]]],
) -> list[Grade]:
    """
    Attach grades to the documents that have the judged texts now.

    A grade belongs to the document that was judged for as long as it has this text. Otherwise it belongs to every document
    with the text: files that are moved or split differently get new ids. A text that is nowhere makes the grade stale, and
    a grade of what stands in the document now replaces a stale one.

    :param chosen: From `in_force`.
    :param contents: What stands now in the documents that were judged, by id.
    :param find: Finds documents by their contents.
    :returns: At most one grade for each document, sorted by id.
    """
    grades: dict[str, HistoryEntry] = {}
    moved = []
    for (document_id, content), entry in chosen.items():
        if contents.get(document_id) == content:
            grades[document_id] = entry
        else:
            moved.append(entry)
    found = find({entry.content for entry in moved}) if moved else {}
    inherited: dict[str, HistoryEntry] = {}
    stale: dict[str, HistoryEntry] = {}
    for entry in moved:
        for document_id in found.get(entry.content, []):
            if document_id not in grades:
                inherited[document_id] = _stronger(entry, inherited.get(document_id))
        if entry.content not in found:
            stale[entry.document_id] = _stronger(entry, stale.get(entry.document_id))
    known = {**inherited, **grades}
    located = [_grade(document_id, entry) for document_id, entry in known.items()]
    located += [replace(_grade(name, entry), stale=True) for name, entry in stale.items() if name not in known]
    return sorted(located, key=lambda grade: grade.document_id)


def _stronger(entry: HistoryEntry, other: HistoryEntry | None) -> HistoryEntry:
    return entry if other is None or (not entry.weak, entry.id) > (not other.weak, other.id) else other


def _grade(document_id: str, entry: HistoryEntry) -> Grade:
    assert entry.grade is not None  # what is in force has one
    return Grade(document_id, entry.grade, entry.judge, entry.time, entry.weak)
