"""
Collections in BEIR layout: a folder with `documents.jsonl` (or BEIR's own name, `corpus.jsonl`), `queries.jsonl` and
`qrels/SPLIT.tsv`. Errors name file and line.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.collections.jsonl import read_jsonl, read_text
from rerank_plugin.collections.lines import ByteLines
from rerank_plugin.collections.trec import Qrels, read_qrels
from rerank_plugin.errors import InputFileError
from rerank_plugin.files import fingerprint_files

CORPUS_NAMES = ("documents.jsonl", "corpus.jsonl")


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
        """Title and text, separated by a line break, as the ranker reads them."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True)
class BeirQuery:
    """
    One line of the queries.

    :param id: The collection's id of the query.
    :param text: The query.
    :param metadata: Further fields, such as `lang` in the sample corpus.
    """

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BeirDataset:
    """
    A collection in BEIR layout.

    :param folder: Its folder. Files are read on demand.
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
        raise InputFileError(f"{self.folder} is not a BEIR collection: it has no {' or '.join(CORPUS_NAMES)}")

    @property
    def place(self) -> Path:
        """The file with the documents, for messages."""
        return self.corpus_file

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
            place = f"{path}, line {number}"
            query = BeirQuery(_identifier(record, place), _required_text(record, place), _metadata(record, place))
            if query.id in queries:
                raise InputFileError(f"{place}: the id {shown(query.id)} occurs twice; give every query a unique id")
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
        path = self._qrels_file(split)
        if not path.is_file():
            raise InputFileError(f"{self.folder} has no split {split!r}: choose one of {self.splits()}")
        return read_qrels(path)

    def splits(self) -> list[str]:
        """Return the names of all splits, sorted."""
        return sorted(file.stem for file in (self.folder / "qrels").glob("*.tsv"))

    def fingerprints(self, split: str) -> dict[str, str]:
        """
        Return hashes of the files: `corpus`, `queries` and `judgements`.

        :param split: Split of the judgements.
        """
        return {
            "corpus": fingerprint_files([self.corpus_file]),
            "queries": fingerprint_files([self.folder / "queries.jsonl"]),
            "judgements": fingerprint_files([self._qrels_file(split)]),
        }

    def _qrels_file(self, split: str) -> Path:
        return self.folder / "qrels" / f"{split}.tsv"


def is_beir_folder(path: Path) -> bool:
    """Return whether a folder holds a collection: a corpus file, and queries or judgements."""
    has_corpus = any((path / name).is_file() for name in CORPUS_NAMES)
    return has_corpus and ((path / "queries.jsonl").is_file() or (path / "qrels").is_dir())


def read_documents(path: Path, *, stream: ByteLines | None = None, unique: bool = True) -> Iterator[BeirDocument]:
    """
    Yield the documents of a corpus file. Memory is needed for one line, and for the ids if they are checked.

    :param path: A JSON Lines file with `_id` and `text`, and optionally `title` and `metadata`, on each line.
    :param stream: The open file; `None` opens `path`.
    :param unique: Whether to check that no id occurs twice.
    :returns: The documents in file order.
    :raises InputFileError: If the file cannot be read, a line is malformed or an id occurs twice.
    """
    seen: set[str] = set()
    for number, record in read_jsonl(path, stream=stream):
        place = f"{path}, line {number}"
        document = BeirDocument(
            id=_identifier(record, place),
            text=_required_text(record, place),
            title=read_text(record, "title", place=place),
            metadata=_metadata(record, place),
        )
        if unique:
            if document.id in seen:
                raise InputFileError(f"{place}: the id {shown(document.id)} occurs twice; give every document a unique id")
            seen.add(document.id)
        yield document


def _identifier(record: dict[str, Any], place: str) -> str:
    value = record.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputFileError(f"{place}: needs '_id', a non-empty string, got {shown(value)}")
    return value


def _required_text(record: dict[str, Any], place: str) -> str:
    if "text" not in record:
        raise InputFileError(f"{place}: has no 'text'")
    return read_text(record, "text", place=place)


def _metadata(record: dict[str, Any], place: str) -> dict[str, Any]:
    value = record.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputFileError(f"{place}: 'metadata' must be an object, got {shown(value)}")
    return value
