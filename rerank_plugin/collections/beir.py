"""
Read collections in BEIR layout, line by line, with errors that name file and line.

A collection is a folder with `documents.jsonl` (or BEIR's own name, `corpus.jsonl`), `queries.jsonl` and `qrels/SPLIT.tsv`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InputFileError

CORPUS_NAMES = ("documents.jsonl", "corpus.jsonl")
QRELS_HEADER = "query-id"
TREC_COLUMNS = 4

Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class BeirDocument:
    """
    One line of the corpus.

    :param id: The collection's id of the document.
    :param text: The passage.
    :param title: Its title; may be empty.
    :param metadata: Further fields.
    """

    id: str
    text: str
    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def full_text(self) -> str:
        """Title and text on lines of their own, as the ranker reads them."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True)
class BeirQuery:
    """
    One line of the queries.

    :param id: The collection's id of the query.
    :param text: The query.
    :param metadata: Further fields, `lang` among them in the sample corpus.
    """

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BeirDataset:
    """
    A collection in BEIR layout.

    :param folder: Where it lies. Nothing is read before it is asked for.
    """

    folder: Path

    @property
    def corpus_file(self) -> Path:
        """
        The file with the documents.

        :raises InputFileError: If the folder has none.
        """
        for name in CORPUS_NAMES:
            if (self.folder / name).is_file():
                return self.folder / name
        raise InputFileError(f"{self.folder} is no BEIR collection: it has no {' or '.join(CORPUS_NAMES)}")

    def documents(self) -> Iterator[BeirDocument]:
        """Yield the documents in file order. See `read_documents`."""
        return read_documents(self.corpus_file)

    def queries(self, split: str | None = None) -> dict[str, BeirQuery]:
        """
        Return the queries by id, in file order.

        :param split: Only those that `qrels/SPLIT.tsv` judges; `None` means all.
        :returns: Queries by id.
        :raises InputFileError: If the file is missing or malformed, or an id occurs twice.
        """
        path = self.folder / "queries.jsonl"
        queries: dict[str, BeirQuery] = {}
        for number, record in read_jsonl(path):
            query = BeirQuery(
                _identifier(record, path, number), _text(record, path, number), _metadata(record, path, number)
            )
            if query.id in queries:
                raise InputFileError(f"{path}, line {number}: the id {query.id!r} occurs twice; give every query its own")
            queries[query.id] = query
        if split is None:
            return queries
        judged = self.qrels(split)
        return {id_: query for id_, query in queries.items() if id_ in judged}

    def qrels(self, split: str) -> Qrels:
        """
        Return the judgements of a split: query id -> document id -> grade.

        :param split: Name of the file under `qrels`, without `.tsv`.
        :returns: See `read_qrels`.
        :raises InputFileError: If there is no such split; see also `read_qrels`.
        """
        path = self.folder / "qrels" / f"{split}.tsv"
        if not path.is_file():
            there = sorted(file.stem for file in path.parent.glob("*.tsv"))
            raise InputFileError(f"{self.folder} has no split {split!r}: choose one of {there}")
        return read_qrels(path)


def is_beir_folder(path: Path) -> bool:
    """Tell whether a folder holds a collection: a corpus file, and queries or judgements beside it."""
    has_corpus = any((path / name).is_file() for name in CORPUS_NAMES)
    return has_corpus and ((path / "queries.jsonl").is_file() or (path / "qrels").is_dir())


def read_documents(path: Path) -> Iterator[BeirDocument]:
    """
    Yield the documents of a corpus file.

    :param path: A JSON Lines file with `_id` and `text`, and optionally `title` and `metadata`, on each line.
    :returns: The documents in file order.
    :raises InputFileError: If the file cannot be read, a line is malformed or an id occurs twice.
    """
    seen: set[str] = set()
    for number, record in read_jsonl(path):
        document = BeirDocument(
            id=_identifier(record, path, number),
            text=_text(record, path, number),
            title=_optional_text(record, "title", path, number),
            metadata=_metadata(record, path, number),
        )
        if document.id in seen:
            raise InputFileError(f"{path}, line {number}: the id {document.id!r} occurs twice; give every document its own")
        seen.add(document.id)
        yield document


def read_qrels(path: str | Path) -> Qrels:
    """
    Read judgements: BEIR's (three columns with tabs between, a header) or those of `trec_eval` (`query 0 document grade`).

    :param path: The file, UTF-8.
    :returns: For each query the grades by document; 0 and below mean judged and not relevant.
    :raises InputFileError: If the file cannot be read or is empty, a line is malformed, or a document has two grades.
    """
    path = Path(path)
    qrels: Qrels = {}
    for number, line in read_lines(path):
        columns = line.split("\t") if "\t" in line else line.split()
        if number == 1 and columns[0] == QRELS_HEADER:
            continue
        if len(columns) == TREC_COLUMNS:
            del columns[1]
        try:
            query, document, text = columns
            grade = int(text)
        except ValueError:
            raise InputFileError(
                f"{path}, line {number}: expected query, document and grade (a whole number) with tabs between, "
                f"or query, 0, document and grade, got {line!r}"
            ) from None
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InputFileError(
                f"{path}, line {number}: document {document!r} has grade {grade} for query {query!r}, "
                f"and {qrels[query][document]} before; leave one out"
            )
    if not qrels:
        raise InputFileError(f"{path} holds no judgements: it is empty")
    return qrels


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Yield line number and object of each line of a JSON Lines file; empty lines are passed over.

    :param path: The file, UTF-8.
    :returns: Pairs of line number (from 1) and object.
    :raises InputFileError: If the file cannot be read or a line is no JSON object.
    """
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputFileError(f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(record, dict):
            raise InputFileError(f"{path}, line {number}: expected a JSON object, got {type(record).__name__}")
        yield number, record


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """
    Yield line number and text of each line that is not blank.

    :param path: The file, UTF-8.
    :returns: Pairs of line number (from 1) and line without its end.
    :raises InputFileError: If the file is missing, unreadable or not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist: check the path") from None
    except UnicodeDecodeError:
        raise InputFileError(f"{path} is not UTF-8 text: convert it, or check that it is the right file") from None
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror}") from None


def _identifier(record: dict[str, Any], path: Path, number: int) -> str:
    value = record.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputFileError(f"{path}, line {number}: needs '_id', a text that is not empty, got {value!r}")
    return value


def _text(record: dict[str, Any], path: Path, number: int) -> str:
    if "text" not in record:
        raise InputFileError(f"{path}, line {number}: has no 'text'")
    return _optional_text(record, "text", path, number)


def _optional_text(record: dict[str, Any], name: str, path: Path, number: int) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputFileError(f"{path}, line {number}: {name!r} must be a text, got {value!r}")
    return value


def _metadata(record: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    value = record.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputFileError(f"{path}, line {number}: 'metadata' must be an object, got {value!r}")
    return value
