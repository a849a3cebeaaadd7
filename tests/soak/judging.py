"""Processes that are killed while they judge: every grade that was acknowledged is there, and each undo."""

import os
import random
import signal
import time
from pathlib import Path

from haystack import Document
from soak.processes import PROCESSES
from soak.report import Report, Size

from rerank_plugin.judgements.judgements import Judgement, Judgements
from rerank_plugin.store import HybridDocumentStore

_DOCUMENTS = 20
_QUERIES = 6
_LONGEST = 0.4

History = list[tuple[str, str, int | None]]
"""Query, document and grade of each judgement that was not undone."""


def next_step(chance: random.Random, history: History, judgements: Judgements | None) -> History:
    """Draw a judgement, or an undo, do it if there are judgements, and return the history after it."""
    if history and chance.random() < 0.2:
        if judgements:
            judgements.undo("anna")
        return history[:-1]
    query, document = f"query {chance.randrange(_QUERIES)}", f"d{chance.randrange(_DOCUMENTS)}"
    grade = chance.choice([0, 1, 2, 3, None])
    if judgements:
        judgements.judge(query, Judgement(document, grade, "anna", shown={"rank": 1}))
    return [*history, (query, document, grade)]


def grades_after(history: History) -> dict[tuple[str, str], int]:
    """The grades in force after a history."""
    last = {(query, document): grade for query, document, grade in history}
    return {pair: grade for pair, grade in last.items() if grade is not None}


def work(folder: Path, seed: int, history: History, log: Path) -> None:
    """Judge until this process is killed; a byte in the log acknowledges a step."""
    chance, judgements = random.Random(seed), Judgements.open(folder)
    acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        history = next_step(chance, history, judgements)
        os.write(acknowledged, b".")


def kill(folder: Path, seed: int, history: History) -> tuple[History, int]:
    """Kill a process at a random moment, and check the judgements. Returns the history, and the acknowledged steps."""
    log = folder.with_suffix(f".{seed}.log")
    process = PROCESSES.Process(target=work, args=(folder, seed, history, log))
    process.start()
    while not log.exists():
        time.sleep(0.001)
    time.sleep(random.Random(-seed).uniform(0, _LONGEST))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    chance, steps = random.Random(seed), log.stat().st_size
    for _ in range(steps):
        history = next_step(chance, history, None)
    possible = [history, next_step(chance, history, None)]  # the interrupted step is complete or absent
    judgements = Judgements.open(folder)
    judgements.store.verify()
    snapshot = judgements.store.judgements.snapshot()
    texts = {row: query.text for row, query in snapshot.queries.items()}
    undone = {entry.undoes for entry in snapshot.history}
    # The whole history, not only what is in force: a grade that was given twice looks like one.
    found = [
        (texts[entry.query], entry.document_id, entry.grade)
        for entry in snapshot.history
        if entry.undoes is None and entry.id not in undone
    ]
    in_force = {(text, grade.document_id): grade.grade for text in texts.values() for grade in judgements.grades(text)}
    judgements.close()
    assert found in possible, (
        f"{len(found)} judgements are neither those that were acknowledged nor those after one more step"
    )
    assert in_force == grades_after(found)
    return found, steps


def run(size: Size, folder: Path) -> Report:
    """Kill 50 processes on one index; each goes on with what the last one left."""
    report, steps = Report("judging", "kills"), 0
    with HybridDocumentStore(folder / "index") as store:
        store.write_documents([Document(id=f"d{n}", content=f"fox number {n}") for n in range(_DOCUMENTS)])
    history: History = []
    for seed in size.seeds(50):
        report.tried += 1
        try:
            history, done = kill(folder / "index", seed, history)
        except Exception as error:  # noqa: BLE001 - told with its seed; what follows would start from an unknown state
            report.fail(f"seed {seed}", f"{type(error).__name__}: {error}")
            break
        steps += done
    report.figures = {"steps acknowledged": steps, "lost": len(report.failures)}
    return report
