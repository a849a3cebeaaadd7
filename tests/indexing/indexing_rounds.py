"""
Indexing under attack: runs that are killed at random points, and two runs at once. `tests/soak` calls these with many rounds, the
tests with a few.
"""

import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

# Imported once, in the process that the others are forked from: a run then begins at once, and can be killed at any point of it.
PRELOADED = [
    "indexing_rounds",
    "rerank_plugin.cli",
    "rerank_plugin.indexing",
    "rerank_plugin.components",
    "haystack.components.routers.file_type_router",
    "rerank_plugin.components.converters.file_converter",
    "haystack.components.joiners.document_joiner",
    "rerank_plugin.components.passage_splitter",
    "haystack.components.writers.document_writer",
    "haystack_integrations.components.embedders.sentence_transformers.sentence_transformers_document_embedder",
    "sentence_transformers",
    "pypdfium2",
    "markdown_it",
    "lxml.html",
    "tantivy",
    "faiss",
]
WORDS = "the red fox jumps over an old dog near a river sea moon city library coffee tea bread green blue sky".split()


@dataclass
class RoundsReport:
    """
    What was tried and what fell.

    :param rounds: Rounds that were run.
    :param kills: Processes that were killed before they ended by themselves.
    :param faults: What was wrong; empty if everything held.
    """

    rounds: int = 0
    kills: int = 0
    faults: list[str] = field(default_factory=list)


def command(*arguments: object, output: Path) -> BaseProcess:
    """Start a `rerank` command in a separate process; its output goes to a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=([str(argument) for argument in arguments], str(output)), daemon=True)
    process.start()
    return process


def _run(arguments: list[str], output: str) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from rerank_plugin.cli import main

    sys.argv = ["rerank", *arguments]
    main()


def contents(index: Path) -> dict[str, str]:
    """Return all documents of an index, including vectors, by id."""
    from rerank_plugin import HybridDocumentStore

    store = HybridDocumentStore(index)
    documents = {
        document.id: json.dumps([document.content, document.meta, document.embedding], sort_keys=True)
        for document in store.filter_documents()
    }
    store.close()
    return documents


def are_same(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether the contents of two indexes are the same. A vector depends by less than 1e-6 on its neighbours in the batch."""
    if one.keys() != other.keys():
        return False
    for (*mine, vector), (*theirs, other_vector) in ((json.loads(one[key]), json.loads(other[key])) for key in one):
        differences = [abs(a - b) for a, b in zip(vector or [], other_vector or [], strict=True)]
        if mine != theirs or max(differences, default=0) >= 1e-6:
            return False
    return True


def answers(index: Path) -> list[list[str]]:
    """The ids that a few keyword queries, and where there are vectors a few dense ones, return."""
    from rerank_plugin import HybridDocumentStore

    store = HybridDocumentStore(index)
    results = [store.bm25_retrieval(query, top_k=20) for query in ("red fox river", "library number 77")]
    vectors = [document.embedding for document in store.filter_documents() if document.embedding][:2]
    results += [store.embedding_retrieval(vector, top_k=20) for vector in vectors]
    store.close()
    return [[document.id for document in documents] for documents in results]


def write_files(folder: Path, rng: random.Random, *, documents: int, files: int) -> set[str]:
    """Write a corpus, small files of three kinds, and copies of a few texts; return the texts of all passages."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [f"{' '.join(rng.choices(WORDS, k=12))} number {number}." for number in range(documents)]
    lines = [
        json.dumps({"_id": f"d{number}", "title": f"Title {number}", "text": text}) for number, text in enumerate(texts)
    ]
    _replace(folder / "corpus.jsonl", "\n".join(lines) + "\n")
    for number in range(files):
        text = f"{' '.join(rng.choices(WORDS, k=12))} note {number}."
        texts.append(text)
        _replace(folder / f"note{number}.{('txt', 'md')[number % 2]}", text)
    for number in range(files // 2):
        text = f"The shared fox number {rng.randrange(files // 4)}."
        texts.append(text)
        (folder / f"copy{number}").mkdir(exist_ok=True)
        _replace(folder / f"copy{number}" / "shared.txt", text)
    return set(texts)


def _replace(path: Path, text: str) -> None:
    """Edit as editors do: in one step, so that a run that reads the file meanwhile never sees it empty."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def kill_and_resume(
    folder: Path,
    *,
    rounds: int,
    seed: int,
    embedding_model: Path | None = None,
    documents: int = 1500,
    on_report: Callable[[str], None] = lambda text: None,
) -> RoundsReport:
    """
    Kill `rerank index` with SIGKILL at random points, start it again until it ends, and compare with an uninterrupted run.

    :param folder: Works in here.
    :param rounds: How many.
    :param seed: Of the random points.
    :param embedding_model: With vectors of this model; `None`: a keyword index.
    :param documents: Size of the corpus.
    :param on_report: Told about each round.
    """
    rng, report = random.Random(seed), RoundsReport()
    texts = write_files(folder / "files", rng, documents=documents, files=20)
    how = ["--embedding-model", embedding_model] if embedding_model else ["--pipeline", "indexing_keyword"]

    def start(index: Path) -> BaseProcess:
        return command("index", folder / "files", "--index", index, *how, output=folder / "output.txt")

    start(folder / "first").join()  # starts the process that the others are forked from
    began = time.monotonic()
    start(folder / "whole").join()
    duration = time.monotonic() - began
    expected, expected_answers = contents(folder / "whole"), answers(folder / "whole")
    assert len(expected) == len(texts), (folder / "output.txt").read_text()
    for number in range(rounds):
        index = folder / f"round{number}"
        for _ in range(rng.choice([1, 1, 2, 3])):
            process = start(index)
            process.join(rng.uniform(0, duration))
            report.kills += process.exitcode is None
            process.kill()
            process.join()
        last = start(index)
        last.join()
        problem = ""
        if last.exitcode:
            problem = f"the last run failed: {(folder / 'output.txt').read_text()}"
        elif not are_same(contents(index), expected):
            problem = f"{len(contents(index))} documents stand for {len(expected)}, or others"
        elif answers(index) != expected_answers:
            problem = "searches answer differently"
        elif _integrity(index) != "ok":
            problem = _integrity(index)
        report.rounds += 1
        if problem:
            report.faults.append(f"round {number}: {problem}")
        on_report(f"round {number}: {report.kills} kills so far; {problem or 'as an uninterrupted run'}")
        shutil.rmtree(index, ignore_errors=True)
    return report


def two_runs_at_once(
    folder: Path, *, rounds: int, seed: int, documents: int = 1000, on_report: Callable[[str], None] = lambda text: None
) -> RoundsReport:
    """
    Start two runs with different pipelines on one index, edit the files in between, and see what stands after the last one.

    :param folder: Works in here.
    :param rounds: How many.
    :param seed: Of the texts.
    :param documents: Size of the corpus.
    :param on_report: Told about each round.
    """
    from rerank_plugin.pipelines import find_pipeline

    rng, report = random.Random(seed), RoundsReport()
    folder.mkdir(parents=True, exist_ok=True)
    bundled = find_pipeline("indexing_keyword")
    variant = folder / "variant.yaml"
    variant.write_text(
        bundled.read_text(encoding="utf-8").replace("split_length: 120", "split_length: 60"), encoding="utf-8"
    )
    write_files(folder / "files", rng, documents=documents, files=20)
    for number in range(rounds):
        pipelines = [bundled, variant]
        rng.shuffle(pipelines)
        outputs = [folder / f"output{position}.txt" for position in range(2)]
        processes = []
        for pipeline, output in zip(pipelines, outputs, strict=True):
            arguments = ("index", folder / "files", "--index", folder / "index", "--pipeline", pipeline)
            processes.append(command(*arguments, output=output))
            if len(processes) == 1:
                processes[0].join(rng.uniform(0, 0.5))
                texts = write_files(folder / "files", rng, documents=documents + rng.randint(-50, 50), files=20)
        for process in processes:
            process.join()
        problem = "; ".join(output.read_text() for output, p in zip(outputs, processes, strict=True) if p.exitcode)
        if not problem:
            standing = [json.loads(row)[0] for row in contents(folder / "index").values()]
            if len(standing) != len(texts) or set(standing) != texts:
                problem = f"{len(standing)} passages stand for {len(texts)}"
        report.rounds += 1
        if problem:
            report.faults.append(f"round {number}: {problem}")
        on_report(f"round {number}: {problem or 'exactly the corpus'}")
    return report


def _integrity(index: Path) -> str:
    with closing(sqlite3.connect(index / "documents.sqlite")) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
