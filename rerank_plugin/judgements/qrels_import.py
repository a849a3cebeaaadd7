"""Judgements that were made elsewhere: the queries and qrels of a folder in BEIR layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.checks import shown
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.collections.runs import document_key
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.judgements.grades import GRADES
from rerank_plugin.judgements.judgements import DEFAULT_SET, Judgement, Judgements
from rerank_plugin.store.judgements import NewQuery


@dataclass(frozen=True)
class Imported:
    """
    What an import did.

    :param queries: Queries with an imported judgement.
    :param judgements: Judgements recorded.
    :param missing: Judgements of documents that are not in the index, which were left out.
    """

    queries: int
    judgements: int
    missing: int


def import_qrels(judgements: Judgements, folder: Path, *, judge: str, to: str = DEFAULT_SET) -> Imported:
    """
    Record the judgements of all splits of a collection whose documents are in the index.

    Importing again changes nothing: what is in force already is not recorded twice.

    :param judgements: The judgements of the index.
    :param folder: `queries.jsonl` and `qrels/*.tsv`; documents are known by their `doc_id` or id.
    :param judge: Whose judgements they shall be.
    :param to: The set for the queries.
    :returns: What was recorded, and how much was left out.
    :raises InputFileError: If a file is missing or malformed.
    :raises InvalidValueError: If a grade is above 3, or none of the documents is in the index. Nothing is recorded then.
    """
    dataset = BeirDataset(folder)
    queries = dataset.queries()
    qrels: dict[str, dict[str, int]] = {}
    for split in dataset.splits():
        for query, grades in dataset.qrels(split).items():
            qrels.setdefault(query, {}).update(grades)
    known = {query: grades for query, grades in qrels.items() if query in queries}
    _check(folder, known)
    ids = {document_key(document): document.id for document in judgements.store.read_all()}
    if known and not any(document in ids for grades in known.values() for document in grades):
        example = next(document for grades in known.values() for document in grades)
        raise InvalidValueError(
            f"none of the documents that {folder} judges, such as {shown(example)}, is in the index: index its corpus first"
        )
    judgements.add_queries([NewQuery(q.text, q.id, q.metadata) for q in queries.values() if q.id in known], to=to)
    recorded, missing = 0, 0
    for query, grades in known.items():
        text = queries[query].text
        before = {grade.document_id: grade.grade for grade in judgements.grades(text) if not grade.weak}
        new = {ids[name]: max(grade, 0) for name, grade in grades.items() if name in ids}
        missing += len(grades) - len(new)
        shown_as = {"imported": folder.resolve().name}
        given = [
            Judgement(document, grade, judge, shown=shown_as)
            for document, grade in new.items()
            if before.get(document) != grade
        ]
        if given:
            judgements.judge_all(text, given, to=to)
        recorded += len(given)
    return Imported(len(known), recorded, missing)


def _check(folder: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    if not qrels:
        raise InvalidValueError(f"{folder} judges none of its queries: check that queries.jsonl and qrels belong together")
    for query, grades in qrels.items():
        for document, grade in grades.items():
            if grade > GRADES[-1]:
                raise InvalidValueError(
                    f"{folder}: query {shown(query)} gives document {shown(document)} the grade {grade}: grades go from "
                    f"{GRADES[0]} to {GRADES[-1]}"
                )
