"""Processes that are killed while they write into a store, delete from it, compact it and search it."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy
from soak.processes import PROCESSES
from soak.report import Report, Size

from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.vectors import kinds

_TRAINED_FROM = 60
_KINDS = ("flat", "ivf_sq8", "hnsw")

State = dict[int, int]
"""Number of each document -> its version."""


def make(number: int, version: int) -> Document:
    """A document; some have no text, some no embedding."""
    return Document(
        id=f"{number:06}",
        content=None if number % 7 == 3 else f"fox number {number} version {version}",
        meta={"n": number, "version": version},
        embedding=None if number % 5 == 2 else [1.0, number / 7, version / 3, 0.5],
    )


def next_step(chance: random.Random, state: State, store: HybridDocumentStore | None) -> State:
    """Draw a step, take it if there is a store, and return the state after it."""
    kind = chance.choices(
        ["new", "overwrite", "delete", "update", "search", "compact", "reopen"], [8, 4, 3, 3, 4, 0.5, 0.5]
    )[0]
    after = dict(state)
    if kind == "new":
        first = max(state, default=0) + 1
        after |= dict.fromkeys(range(first, first + chance.randint(1, 30)), 0)
        if store:
            store.write_documents([make(n, 0) for n in after if n not in state])
    elif kind == "overwrite" and state:
        chosen = chance.sample(sorted(state), min(len(state), chance.randint(1, 20)))
        after |= {n: state[n] + 1 for n in chosen}
        if store:
            store.write_documents([make(n, after[n]) for n in chosen], policy=DuplicatePolicy.OVERWRITE)
    elif kind == "delete":
        chosen = chance.sample(sorted(state), min(len(state), chance.randint(1, 15)))
        after = {n: version for n, version in state.items() if n not in chosen}
        if store:
            store.delete_documents([f"{n:06}" for n in chosen])
    elif kind == "update":
        # The update stays in the meta of these documents; their contents do not change.
        bound = chance.randint(0, max(state, default=0))
        if store:
            store.update_by_filter({"field": "n", "operator": "<=", "value": bound}, {"seen": True})
    elif store:
        {"search": search, "compact": HybridDocumentStore.compact, "reopen": HybridDocumentStore.close}.get(kind, search)(
            store
        )
    return after


def search(store: HybridDocumentStore) -> None:
    """Bring both indexes up to date."""
    store.bm25_retrieval("fox")
    store.embedding_retrieval([1.0, 0.0, 0.0, 0.0])


def work(folder: Path, kind: str, seed: int, state: State, log: Path) -> None:
    """Execute steps until this process is killed; a line in the log acknowledges a step."""
    kinds.TRAINED_FROM = _TRAINED_FROM
    chance, store = random.Random(seed), HybridDocumentStore(folder, vector_index=kind)
    acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        state = next_step(chance, state, store)
        os.write(acknowledged, b".")


def check(folder: Path, kind: str, possible: list[State]) -> State:
    """The index is in one of these states, and both derived indexes agree with it. Returns the state."""
    store = HybridDocumentStore(folder, vector_index=kind)
    documents = store.filter_documents()
    found = {document.meta["n"]: document.meta["version"] for document in documents}
    assert found in possible, f"{len(found)} documents are none of the {len(possible)} states that can be"
    for document in documents:
        expected = make(document.meta["n"], document.meta["version"])
        assert (document.id, document.content, document.embedding) == (expected.id, expected.content, expected.embedding)
    by_words = {document.id: document.content for document in store.bm25_retrieval("fox", top_k=100_000)}
    assert by_words == {document.id: document.content for document in documents if document.content}
    by_vectors = {document.id for document in store.embedding_retrieval([1.0, 0.0, 0.0, 0.0], top_k=100_000)}
    assert by_vectors == {document.id for document in documents if document.embedding}
    store.close()
    return found


def kill(folder: Path, kind: str, seed: int, state: State, longest: float) -> tuple[State, int]:
    """Run a process, kill it at a random moment, and check the index. Returns its state, and the acknowledged steps."""
    log = folder.with_suffix(f".{seed}.log")
    process = PROCESSES.Process(target=work, args=(folder, kind, seed, state, log))
    process.start()
    while not log.exists():
        time.sleep(0.001)
    time.sleep(random.Random(-seed).uniform(0, longest))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    chance, steps = random.Random(seed), log.stat().st_size
    for _ in range(steps):
        state = next_step(chance, state, None)
    # Acknowledged steps are complete; the interrupted step is either complete or absent.
    return check(folder, kind, [state, next_step(chance, state, None)]), steps


def run(size: Size, folder: Path) -> Report:
    """Kill processes on a few indexes; each process continues with the state that the last one left."""
    report, steps, longest = Report("kills", "kills"), 0, 0.7
    kinds.TRAINED_FROM, before = _TRAINED_FROM, kinds.TRAINED_FROM
    try:
        states: dict[str, State] = {kind: {} for kind in _KINDS}
        for seed in size.seeds(300):
            kind = _KINDS[seed % len(_KINDS)]
            report.tried += 1
            try:
                states[kind], done = kill(folder / kind, kind, seed, states[kind], longest)
            except Exception as error:  # noqa: BLE001 - whatever fell, the others are tried all the same
                report.fail(f"seed {seed}", f"{kind}: {type(error).__name__}: {error}")
                done, states[kind] = 0, {}
                shutil.rmtree(folder / kind, ignore_errors=True)
            steps += done
            if len(states[kind]) > 2000:
                shutil.rmtree(folder / kind)
                states[kind] = {}
    finally:
        kinds.TRAINED_FROM = before
    report.figures = {"steps acknowledged": steps, "lost": len(report.failures)}
    return report
