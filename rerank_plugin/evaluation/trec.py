"""Runs as `trec_eval` reads and writes them, with errors that name file and line. For judgements see `beir.read_qrels`."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from sys import intern

from rerank_plugin.beir import read_lines
from rerank_plugin.errors import InputFileError
from rerank_plugin.evaluation.runs import Run, Runs, as_scores
from rerank_plugin.files import replace_file

RUN_COLUMNS = 6


def read_run(path: str | Path) -> Run:
    """
    Read a run: `query Q0 document rank score tag` on each line, with blanks or tabs between.

    :param path: The file, UTF-8.
    :returns: For each query the scores by document. Ranks are not read: `trec_eval` does not either.
    :raises InputFileError: If the file cannot be read, a line is malformed, or a document occurs twice in a query.
    """
    run: Run = {}
    for query, scores in iter_run(Path(path)):
        if query in run:
            for document, score in scores.items():
                if document in run[query]:
                    raise InputFileError(f"{path}: document {document!r} occurs twice for query {query!r}; leave one out")
                run[query][document] = score
        else:
            run[query] = scores
    if not run:
        raise InputFileError(f"{path} holds no run: it is empty")
    return run


def iter_run(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """
    Yield a run query by query, so that a large one need not be held at once.

    :param path: See `read_run`.
    :returns: Query and scores by document. A query whose lines do not stand together comes several times.
    :raises InputFileError: See `read_run`.
    """
    for query, lines in groupby(_run_lines(path), key=lambda line: line[0]):
        scores: dict[str, float] = {}
        for _, document, score, number in lines:
            if document in scores:
                raise InputFileError(
                    f"{path}, line {number}: document {document!r} occurs twice for query {query!r}; leave one out"
                )
            scores[document] = score
        yield query, scores


def _run_lines(path: Path) -> Iterator[tuple[str, str, float, int]]:
    for number, line in read_lines(path):
        columns = line.split()
        try:
            query, _, document, _, score, _ = columns
            value = float(score)
        except ValueError:
            value = float("nan")
        if value != value or len(columns) != RUN_COLUMNS:
            raise InputFileError(
                f"{path}, line {number}: expected query, Q0, document, rank, score (a number) and tag, got {line!r}"
            )
        yield query, intern(document), value, number


def write_run(path: Path, run: Runs, *, tag: str) -> None:
    """
    Write a run that `trec_eval` reads.

    :param path: The file; replaced in one step.
    :param run: For each query the answer, as `evaluate` takes it.
    :param tag: Name of the system.
    """
    with replace_file(path) as file:
        for query, ranking in run.items():
            ranked = sorted(as_scores(ranking).items(), key=lambda item: (item[1], item[0]), reverse=True)
            for rank, (document, score) in enumerate(ranked, start=1):
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
