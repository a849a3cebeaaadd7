"""Labelled pairs: the form in which a cross-encoder learns."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rerank_plugin.beir import read_jsonl, read_lines
from rerank_plugin.errors import InputFileError

COLUMNS = ("query", "passage", "label")
# The names under which the same three stand in sentence-transformers' data sets.
ALIASES = {"sentence_0": "query", "sentence_1": "passage", "text": "passage", "score": "label"}


@dataclass(frozen=True)
class LabelledPair:
    """
    A query, a passage, and how well the passage answers the query.

    :param query: The query.
    :param passage: The passage, with its title where it has one.
    :param label: 1 = answers, 0 = does not, or anything between.
    """

    query: str
    passage: str
    label: float


@dataclass(frozen=True)
class PairStatistics:
    """
    What a set of pairs looks like; the figures that a model card shows.

    :param pairs: How many.
    :param mean_label: Their mean label.
    :param query_characters: Shortest, mean and longest query.
    :param passage_characters: Shortest, mean and longest passage.
    """

    pairs: int
    mean_label: float
    query_characters: tuple[int, float, int]
    passage_characters: tuple[int, float, int]


def describe(pairs: Sequence[LabelledPair]) -> PairStatistics:
    """
    Measure a set of pairs.

    :param pairs: The pairs; at least one.
    :returns: Count, mean label, and lengths in characters.
    """
    queries = [len(pair.query) for pair in pairs]
    passages = [len(pair.passage) for pair in pairs]
    return PairStatistics(
        pairs=len(pairs),
        mean_label=mean(pair.label for pair in pairs),
        query_characters=(min(queries), mean(queries), max(queries)),
        passage_characters=(min(passages), mean(passages), max(passages)),
    )


def read_pairs(path: Path) -> list[LabelledPair]:
    """
    Read labelled pairs from a JSON Lines, TSV or CSV file.

    The columns are `query`, `passage` and `label`; `sentence_0`, `sentence_1` and `label` are understood too. TSV and
    CSV files have a header line.

    :param path: A file that ends in `.jsonl`, `.tsv` or `.csv`.
    :returns: The pairs in file order.
    :raises InputFileError: If the file cannot be read, or a line lacks a column, has an empty text, or a label outside 0..1.
    """
    if path.suffix == ".jsonl":
        return [_pair(record, path, number) for number, record in read_jsonl(path)]
    if path.suffix in (".tsv", ".csv"):
        return [_pair(record, path, number) for number, record in _read_table(path)]
    raise InputFileError(f"{path} has none of the endings .jsonl, .tsv and .csv: convert it, or give a BEIR folder")


def write_pairs(pairs: Iterable[LabelledPair], path: Path) -> int:
    """
    Write pairs as JSON Lines, in the form that `read_pairs` reads.

    :param pairs: The pairs.
    :param path: The file; replaced where it exists.
    :returns: How many were written.
    """
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, pair in enumerate(pairs, start=1):  # noqa: B007 - the count is the result
            row = {"query": pair.query, "passage": pair.passage, "label": pair.label}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _read_table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = read_lines(path)
    texts = (line for _, line in lines)
    # TSV has no quoting: a quotation mark is a character of the text.
    rows = csv.reader(texts, delimiter="\t", quoting=csv.QUOTE_NONE) if path.suffix == ".tsv" else csv.reader(texts)
    header = next(rows, [])
    for row in rows:
        if len(row) != len(header):
            raise InputFileError(f"{path}, line {rows.line_num}: has {len(row)} columns, the header has {len(header)}")
        yield rows.line_num, dict(zip(header, row, strict=True))


def _pair(record: dict[str, Any], path: Path, number: int) -> LabelledPair:
    fields = {ALIASES.get(name, name): value for name, value in record.items()}
    missing = [name for name in COLUMNS if name not in fields]
    if missing:
        raise InputFileError(f"{path}, line {number}: lacks {', '.join(missing)}; it has {', '.join(record)}")
    for name in ("query", "passage"):
        if not isinstance(fields[name], str) or not fields[name].strip():
            raise InputFileError(f"{path}, line {number}: {name} is empty or no text: {fields[name]!r}")
    try:
        label = float(fields["label"])
    except (TypeError, ValueError):
        label = -1.0
    if not 0.0 <= label <= 1.0:
        raise InputFileError(f"{path}, line {number}: label must be a number from 0 to 1, got {fields['label']!r}")
    return LabelledPair(query=fields["query"], passage=fields["passage"], label=label)
