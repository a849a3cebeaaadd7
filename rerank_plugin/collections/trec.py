"""Reading and writing runs and judgements in `trec_eval`'s formats, and reading BEIR's judgements."""

import re
from collections.abc import Iterable, Mapping
from math import isfinite, nan
from pathlib import Path
from sys import intern

from rerank_plugin.checks import shown
from rerank_plugin.collections.lines import read_lines
from rerank_plugin.collections.runs import Run, Runs, best_first
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.files import replace_file

Qrels = dict[str, dict[str, int]]

_BEIR_HEADER = "query-id"
_BEIR_COLUMNS, _TREC_COLUMNS, _RUN_COLUMNS = 3, 4, 6
# trec_eval's column separators. Python's `split()` also splits at other characters, such as the no-break space.
_BLANKS = re.compile(r"[ \t\v\f]+")
_GRADE = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)
_MAX_GRADE = 2**31 - 1  # limit of trec_eval


def read_run(path: str | Path) -> Run:
    """
    Read a run: `query Q0 document rank score tag` on each line, separated by blanks or tabs.

    :param path: The file, UTF-8. If the columns are separated by five tabs, ids may contain blanks.
    :returns: For each query the scores by document. Ranks are ignored, as in `trec_eval`.
    :raises InputFileError: If the file cannot be read, a line is malformed, or a document occurs twice in a query.
    """
    path = Path(path)
    run: Run = {}
    for number, line in read_lines(path):
        columns = line.split("\t") if line.count("\t") == _RUN_COLUMNS - 1 else _split(line)
        score = _score(columns[4]) if len(columns) == _RUN_COLUMNS else nan
        if not isfinite(score) or not columns[0] or not columns[2]:
            raise InputFileError(
                f"{path}, line {number}: expected query, Q0, document, rank, score (a finite number) and tag, "
                f"got {shown(line)}"
            )
        query, document = columns[0], columns[2]
        scores = run.setdefault(query, {})
        if document in scores:
            raise InputFileError(
                f"{path}, line {number}: document {shown(document)} occurs twice for query {shown(query)}; leave one out"
            )
        scores[intern(document)] = score
    if not run:
        raise InputFileError(f"{path} contains no run: it is empty")
    return run


def read_qrels(path: str | Path) -> Qrels:
    """
    Read judgements in BEIR's format (three tab-separated columns, a header) or `trec_eval`'s (`query 0 document grade`).

    :param path: The file, UTF-8. All lines must have the same columns.
    :returns: For each query the grades by document; 0 and below mean judged as not relevant.
    :raises InputFileError: If the file cannot be read or is empty, a line is malformed, or a document has two grades.
    """
    path = Path(path)
    qrels: Qrels = {}
    width = 0
    for number, line in read_lines(path):
        columns = line.split("\t") if "\t" in line else _split(line)
        if not width:
            is_header = columns[0] == _BEIR_HEADER
            width = _BEIR_COLUMNS if is_header or len(columns) != _TREC_COLUMNS else _TREC_COLUMNS
            if is_header:
                continue
        query, document, text = (columns[0], *columns[-2:]) if len(columns) == width else ("", "", "")
        grade = int(text) if _GRADE.fullmatch(text) else None
        if not query or not document or grade is None or abs(grade) > _MAX_GRADE:
            raise InputFileError(
                f"{path}, line {number}: expected query, document and grade (a whole number) with tabs between, "
                f"or query, 0, document and grade, the same on every line, got {shown(line)}"
            )
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InputFileError(
                f"{path}, line {number}: document {shown(document)} has grade {grade} for query {shown(query)}, "
                f"and {qrels[query][document]} before; leave one out"
            )
    if not qrels:
        raise InputFileError(f"{path} contains no judgements: it is empty")
    return qrels


def write_run(path: str | Path, run: Runs, *, tag: str) -> None:
    """
    Write a run in `trec_eval`'s format; if an id contains a blank, only `read_run` can read it.

    :param path: The file; replaced atomically.
    :param run: For each query a ranking, as `evaluate` accepts it.
    :param tag: Name of the system.
    :raises InvalidValueError: If an id or the tag is empty or contains a tab or a line break, or a score is not a finite
        number. The file is then unchanged.
    """
    with replace_file(Path(path)) as file:
        for query, ranking in run.items():
            for rank, (document, score) in enumerate(best_first(ranking), start=1):
                if not isfinite(score):
                    raise InvalidValueError(
                        f"query {shown(query)}: the score of document {shown(document)} must be a finite number, "
                        f"got {shown(score)}"
                    )
                file.write(_line((query, "Q0", document, str(rank), repr(float(score)), tag)))


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """
    Write judgements in `trec_eval`'s format; if an id contains a blank, only `read_qrels` can read them.

    :param path: The file; replaced atomically.
    :param qrels: For each query the grades by document.
    :raises InvalidValueError: If an id is empty or contains a tab or a line break. The file is then unchanged.
    """
    with replace_file(path) as file:
        for query, grades in qrels.items():
            for document, grade in grades.items():
                file.write(_line((query, "0", document, str(grade))))


def _split(line: str) -> list[str]:
    return _BLANKS.split(line.strip(" \t\v\f"))


def _score(text: str) -> float:
    """Return the number, NaN if the text is not one: `float` alone would also accept `1_0` and non-ASCII digits."""
    try:
        return float(text) if text.isascii() and "_" not in text else nan
    except ValueError:
        return nan


def _line(columns: Iterable[str]) -> str:
    columns = list(columns)
    for column in columns:
        if not column or "\t" in column or "\0" in column or column.splitlines() != [column]:
            raise InvalidValueError(
                f"{shown(column)} cannot be written in trec_eval's format: an id must not be empty, or contain a tab, a NUL "
                "or a line break"
            )
    separator = "\t" if any(_BLANKS.search(column) for column in columns) else " "
    return separator.join(columns) + "\n"
