"""Labelled pairs, the training data of a cross-encoder, and their file formats."""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_plugin.checks import check_text, shown
from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.collections.lines import read_lines
from rerank_plugin.errors import InputFileError, InvalidValueError, MissingDependencyError, reason_of
from rerank_plugin.files import replace_file

# Datasets have different names for the same columns.
ALIASES = {
    "query": ("query", "sentence_0", "sentence1", "question", "anchor"),
    "passage": ("passage", "sentence_1", "sentence2", "text", "document"),
    "label": ("label", "score"),
    "positive": ("positive", "positives", "pos"),
    "negative": ("negative", "negatives", "neg"),
}
POSITIVE = 0.5  # minimum label of a positive, for losses that need positives and negatives
NUMBERED = re.compile(r"negative_\d+")
TEACHER = "teacher_score"
ENDINGS = (".jsonl", ".tsv", ".csv", ".parquet")
MOST_CHARACTERS = 200  # maximum length of the list of column names in an error


@dataclass(frozen=True)
class LabelledPair:
    """
    A query, a passage, and how well the passage answers the query.

    :param query: The query.
    :param passage: The passage, with its title if it has one.
    :param label: 1 = relevant, 0 = not relevant, or anything in between.
    :param teacher_score: The logit of a better model for the pair; `None`: not scored.
    :param source: File and line, for messages.
    """

    query: str
    passage: str
    label: float
    teacher_score: float | None = None
    source: str = ""


def read_pairs(path: Path) -> list[LabelledPair]:
    """
    Read labelled pairs or triples.

    A row is a pair (`query`, `passage`, `label`, and optionally `teacher_score`; `sentence_0`, `sentence_1`, `label` work
    too) or a triple (`query`, `positive`, `negative`; also `negative_1`, `negative_2`, or a list `negatives`),
    which becomes a pair with label 1 and pairs with label 0. TSV and CSV files have a header line.

    :param path: A file that ends in `.jsonl`, `.tsv`, `.csv` or `.parquet`, or a folder saved by `datasets`.
    :returns: The pairs in file order; labels and texts are validated in `checks`.
    :raises InputFileError: If the file cannot be read, or a row lacks a column or has a value of the wrong type.
    :raises MissingDependencyError: If it is a Parquet file or a folder, and `datasets` is not installed.
    """
    if not path.exists():
        raise InputFileError(f"{path} does not exist: check the path")
    if not path.is_dir() and not path.is_file():
        raise InputFileError(f"{path} is neither a regular file nor a folder: give a file that can be read twice")
    if path.is_dir() or path.suffix == ".parquet":
        rows: Iterator[tuple[int, dict[str, Any]]] = _read_datasets(path)
    elif path.suffix == ".jsonl":
        rows = read_jsonl(path)
    elif path.suffix in (".tsv", ".csv"):
        rows = _read_table(path)
    else:
        raise InputFileError(
            f"{path} has none of the extensions {', '.join(ENDINGS)}: convert it, or give a BEIR folder or one of datasets"
        )
    return [pair for number, record in rows for pair in _pairs(record, f"{path}, line {number}")]


def write_pairs(pairs: Iterable[LabelledPair], path: Path) -> int:
    """
    Write pairs as JSON Lines, which `read_pairs` reads.

    :param pairs: The pairs.
    :param path: The file; replaced if it exists.
    :returns: Number of pairs written.
    """
    count = 0
    with replace_file(path) as file:
        for count, pair in enumerate(pairs, start=1):  # noqa: B007 - the count is the result
            row: dict[str, Any] = {"query": pair.query, "passage": pair.passage, "label": pair.label}
            if pair.teacher_score is not None:
                row[TEACHER] = pair.teacher_score
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _read_table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".tsv":
        # TSV has no quoting: a quotation mark is a character of the text.
        lines = read_lines(path)
        _, first = next(lines, (0, ""))
        header = first.split("\t")
        rows: Iterator[tuple[int, list[str]]] = ((number, line.split("\t")) for number, line in lines)
    else:
        # In CSV a quoted text may span several lines, including blank ones.
        rows = _read_csv(path)
        _, header = next(rows, (0, []))
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise InputFileError(f"{path}, line 1: the header has {shown(twice[0])} twice; give every column its own name")
    for number, row in rows:
        if len(row) != len(header):
            raise InputFileError(f"{path}, line {number}: has {len(row)} columns, the header has {len(header)}")
        yield number, dict(zip(header, row, strict=True))


def _read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_whole_lines(path))
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        raise InputFileError(f"{path}, line {reader.line_num}: {error}") from None


def _whole_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError:
        raise InputFileError(f"{path} is not UTF-8 text: convert it, or check that it is the right file") from None
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror}") from None


def _read_datasets(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from datasets import Dataset, load_from_disk
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise MissingDependencyError(f"{path} is read by datasets: pip install 'rerank-plugin[train]'") from error
    try:
        data = Dataset.from_parquet(str(path)) if path.is_file() else load_from_disk(str(path))
    except (OSError, ValueError, DatasetsError) as error:
        kind = "Parquet file" if path.is_file() else "BEIR folder, nor one saved by datasets"
        raise InputFileError(f"{path} is not a {kind}: {reason_of(error)}") from error
    if not isinstance(data, Dataset):
        raise InputFileError(f"{path} has several splits, {', '.join(data)}: give the folder of one of them")
    number = 0
    try:
        for number, row in enumerate(data, start=1):
            yield number, dict(row)
    except ValueError as error:  # such as bytes that are not UTF-8; rows are read in blocks
        raise InputFileError(
            f"{path}, after line {number}: cannot be read, write the file again: {reason_of(error)}"
        ) from error


def _pairs(record: dict[str, Any], place: str) -> Iterator[LabelledPair]:
    # Reversed, so that if a row has several of the names, the first one counts.
    fields = {name: record[alias] for name, aliases in ALIASES.items() for alias in reversed(aliases) if alias in record}
    query = _text(fields, "query", place, record)
    if "positive" in fields:
        numbered = [text for name, text in record.items() if NUMBERED.fullmatch(name) and text is not None]
        for name, label, more in (("positive", 1.0, []), ("negative", 0.0, numbered)):
            texts = fields.get(name, [])
            for text in [*(texts if isinstance(texts, list) else [texts]), *more]:
                yield LabelledPair(query, _text({name: text}, name, place, record), label, source=place)
        return
    label = _number(fields.get("label"), "label", place, record)
    yield LabelledPair(query, _text(fields, "passage", place, record), label, _teacher_score(record, place), place)


def _teacher_score(record: dict[str, Any], place: str) -> float | None:
    value = record.get(TEACHER)
    if value in (None, ""):
        return None
    score = _number(value, TEACHER, place, record)
    if isinstance(value, bool) or not math.isfinite(score):
        raise InputFileError(f"{place}: {TEACHER} must be a finite number, got {shown(value)}")
    return score


def _text(fields: dict[str, Any], name: str, place: str, record: dict[str, Any]) -> str:
    if name not in fields:
        raise InputFileError(f"{place}: lacks {name}; it has {_columns(record)}")
    try:
        return check_text(f"{place}: {name}", fields[name], empty=True)
    except InvalidValueError as error:
        raise InputFileError(str(error)) from None


def _number(value: Any, name: str, place: str, record: dict[str, Any]) -> float:
    if value is None:
        raise InputFileError(f"{place}: lacks {name}; it has {_columns(record)}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputFileError(f"{place}: {name} must be a number, got {shown(value)}") from None


def _columns(record: dict[str, Any]) -> str:
    text = ", ".join(map(repr, record)) if any(not name.isprintable() for name in record) else ", ".join(record)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
