"""Runs as `trec_eval` reads and writes them, with errors that name file and line. For judgements see `beir.read_qrels`."""

from collections.abc import Mapping
from math import isnan, nan
from pathlib import Path
from sys import intern

from rerank_plugin.collections.beir import read_lines
from rerank_plugin.collections.runs import Run, Runs, best_first
from rerank_plugin.errors import InputFileError
from rerank_plugin.files import replace_file


def read_run(path: str | Path) -> Run:
    """
    Read a run: `query Q0 document rank score tag` on each line, with blanks or tabs between.

    :param path: The file, UTF-8.
    :returns: For each query the scores by document. Ranks are not read: `trec_eval` does not either.
    :raises InputFileError: If the file cannot be read, a line is malformed, or a document occurs twice in a query.
    """
    path = Path(path)
    run: Run = {}
    for number, line in read_lines(path):
        try:
            query, _, document, _, text, _ = line.split()
            score = float(text)
        except ValueError:
            score = nan
        if isnan(score):
            raise InputFileError(
                f"{path}, line {number}: expected query, Q0, document, rank, score (a number) and tag, got {line!r}"
            )
        scores = run.setdefault(query, {})
        if document in scores:
            raise InputFileError(
                f"{path}, line {number}: document {document!r} occurs twice for query {query!r}; leave one out"
            )
        scores[intern(document)] = score
    if not run:
        raise InputFileError(f"{path} holds no run: it is empty")
    return run


def write_run(path: str | Path, run: Runs, *, tag: str) -> None:
    """
    Write a run that `trec_eval` reads.

    :param path: The file; replaced in one step.
    :param run: For each query the answer, as `evaluate` takes it.
    :param tag: Name of the system.
    """
    with replace_file(Path(path)) as file:
        for query, ranking in run.items():
            for rank, (document, score) in enumerate(best_first(ranking), start=1):
                file.write(f"{query} Q0 {document} {rank} {score!r} {tag}\n")


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """
    Write judgements that `trec_eval` reads.

    :param path: The file; replaced in one step.
    :param qrels: For each query the grades by document.
    """
    with replace_file(path) as file:
        for query, grades in qrels.items():
            for document, grade in grades.items():
                file.write(f"{query} 0 {document} {grade}\n")
