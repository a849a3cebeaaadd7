"""Queries to be judged, from a file: a text with a query on each line, or JSON Lines."""

from pathlib import Path
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.collections.jsonl import read_jsonl, read_text
from rerank_plugin.collections.lines import read_lines
from rerank_plugin.errors import InputFileError
from rerank_plugin.store.judgements import NewQuery

# The names that tools give to the text of a query.
_TEXT_FIELDS = ("text", "query", "question")


def read_queries(path: Path) -> list[NewQuery]:
    """
    Read queries.

    :param path: A text in UTF-8 with a query on each line, or a file that ends in `.jsonl`: `text` (or `query`, `question`)
        and optionally `_id` and `metadata` on each line, as `queries.jsonl` of a BEIR folder.
    :returns: The queries in file order; of equal texts only the first.
    :raises InputFileError: If the file cannot be read, has no queries, or a line is malformed.
    """
    if path.suffix == ".jsonl":
        queries = [_query(record, f"{path}, line {number}") for number, record in read_jsonl(path)]
    else:
        queries = [NewQuery(line.strip()) for _, line in read_lines(path)]
    if not queries:
        raise InputFileError(f"{path} has no queries: write one on each line")
    first: dict[str, NewQuery] = {}
    for query in queries:
        first.setdefault(query.text, query)
    return list(first.values())


def _query(record: dict[str, Any], place: str) -> NewQuery:
    name = next((field for field in _TEXT_FIELDS if field in record), None)
    text = read_text(record, name, place=place).strip() if name else ""
    if not text:
        raise InputFileError(f"{place}: needs 'text', the query")
    metadata, given = record.get("metadata"), record.get("_id")
    if not isinstance(metadata, dict | None):
        raise InputFileError(f"{place}: 'metadata' must be an object, got {shown(metadata)}")
    if isinstance(given, bool) or not isinstance(given, str | int | None):
        raise InputFileError(f"{place}: '_id' must be a string, got {shown(given)}")
    return NewQuery(text, None if given is None else str(given), metadata)
