"""
Processes that are killed while they write, and many that read and write at once; short in the tests, longer by hand:

    python tests/store/soak.py --kills 200 --seconds 60
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.vectors import kinds

# Processes fork from one that has imported everything and used nothing: they start in a hundredth of a second.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["rerank_plugin.store", "faiss", "tantivy", "Stemmer"])
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
        # The meta of these documents says so ever after; their contents stay.
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
    """Take steps until somebody kills this process; a line in the log acknowledges a step."""
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
    """Let a process work, kill it at some moment, and check what is left. Returns the state, and the steps acknowledged."""
    log = folder.with_suffix(f".{seed}.log")
    process = _PROCESSES.Process(target=work, args=(folder, kind, seed, state, log))
    process.start()
    while not log.exists():
        time.sleep(0.001)
    time.sleep(random.Random(-seed).uniform(0, longest))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    chance, steps = random.Random(seed), log.stat().st_size
    for _ in range(steps):
        state = next_step(chance, state, None)
    # What was acknowledged is there; the step that was cut short is there whole or not at all.
    return check(folder, kind, [state, next_step(chance, state, None)]), steps


def kill_again_and_again(folder: Path, kills: int, longest: float, first_seed: int = 0) -> int:
    """Kill processes on a few indexes, each of which goes on with what the last one left. Returns the steps acknowledged."""
    kinds.TRAINED_FROM, before, steps = _TRAINED_FROM, kinds.TRAINED_FROM, 0
    try:
        states: dict[str, State] = {kind: {} for kind in _KINDS}
        for seed in range(first_seed, first_seed + kills):
            kind = _KINDS[seed % len(_KINDS)]
            states[kind], done = kill(folder / kind, kind, seed, states[kind], longest)
            steps += done
            if len(states[kind]) > 2000:
                shutil.rmtree(folder / kind)
                states[kind] = {}
    finally:
        kinds.TRAINED_FROM = before
    return steps


def signed(writer: int, batch: int, number: int) -> Document:
    """A document that shows whether it is whole."""
    content = f"fox {writer} {batch} {number}"
    seal = hashlib.sha256(content.encode()).hexdigest()
    vector = [1.0, *(byte / 255 for byte in hashlib.sha256(content.encode()).digest()[:7])]
    meta = {"writer": writer, "batch": f"{writer}-{batch}", "seal": seal}
    return Document(id=f"{writer}-{batch}-{number}", content=content, meta=meta, embedding=vector)


def check_whole(document: Document) -> None:
    """The parts of a document belong together."""
    expected = signed(*map(int, document.id.split("-")))
    assert (document.content, document.meta) == (expected.content, expected.meta), document.id


def write(folder: Path, writer: int, seconds: float, log: Path) -> None:
    """Write batches of ten documents and delete every fourth batch; the log says what was acknowledged."""
    store, end = HybridDocumentStore(folder), time.monotonic() + seconds
    with log.open("w", encoding="utf-8") as acknowledged:
        for batch in range(1_000_000):
            if time.monotonic() > end:
                break
            store.write_documents([signed(writer, batch, number) for number in range(10)])
            if batch % 4 == 3:
                store.delete_by_filter({"field": "batch", "operator": "==", "value": f"{writer}-{batch - 2}"})
            print(batch, file=acknowledged, flush=True)
    store.close()


def read(folder: Path, seed: int, done: threading.Event, counts: list[int]) -> None:
    """Read in every way until it is enough."""
    chance, store = random.Random(seed), HybridDocumentStore(folder)
    while not done.is_set():
        top_k = chance.choice([1, 10, 100])
        if chance.random() < 0.3:
            found = store.embedding_retrieval([1.0, *(chance.random() for _ in range(7))], top_k=top_k)
        else:
            filters = chance.choice([None, {"field": "writer", "operator": "==", "value": chance.randint(0, 1)}])
            found = store.bm25_retrieval(f"fox {chance.randint(0, 50)}", top_k=top_k, filters=filters)
        batch = f"{chance.randint(0, 1)}-{chance.randint(0, 200)}"
        whole = store.filter_documents({"field": "batch", "operator": "==", "value": batch})
        assert len(whole) in (0, 10), f"{len(whole)} of the ten documents of batch {batch} were seen"
        for document in [*found, *whole]:
            check_whole(document)
        assert len({document.id for document in found}) == len(found)
        counts[seed] += 1
    store.close()


def read_and_write(folder: Path, seconds: float, readers: int = 8, writers: int = 2) -> tuple[int, int]:
    """Let threads read while processes write. Returns the rounds of reading and the batches written."""
    logs = [folder.with_suffix(f".{writer}.log") for writer in range(writers)]
    processes = [_PROCESSES.Process(target=write, args=(folder, writer, seconds, log)) for writer, log in enumerate(logs)]
    done, counts, failures = threading.Event(), [0] * readers, []

    def run(seed: int) -> None:
        try:
            read(folder, seed, done, counts)
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(readers)]
    for each in [*processes, *threads]:
        each.start()
    for process in processes:
        process.join()
    done.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert [process.exitcode for process in processes] == [0] * writers
    written = [len(log.read_text(encoding="utf-8").splitlines()) for log in logs]
    expected = {
        signed(writer, batch, number).id
        for writer, batches in enumerate(written)
        for batch in range(batches)
        for number in range(10)
        if not (batch % 4 == 1 and batch + 2 < batches)
    }
    store = HybridDocumentStore(folder)
    documents = store.filter_documents()
    for document in documents:
        check_whole(document)
    assert {document.id for document in documents} == expected
    assert {document.id for document in store.bm25_retrieval("fox", top_k=1_000_000)} == expected
    assert {document.id for document in store.embedding_retrieval([1.0] * 8, top_k=1_000_000)} == expected
    store.close()
    return sum(counts), sum(written)


def create(folder: Path, number: int, together: Any) -> None:
    """Write one document, into an index that may not be there yet."""
    store = HybridDocumentStore(folder)
    together.wait()
    store.write_documents([signed(0, 0, number)])
    store.close()


def create_together(folder: Path, processes: int = 6) -> None:
    """Let processes make one and the same index at the same moment."""
    together = _PROCESSES.Barrier(processes)
    made = [_PROCESSES.Process(target=create, args=(folder, number, together)) for number in range(processes)]
    for process in made:
        process.start()
    for process in made:
        process.join()
    assert [process.exitcode for process in made] == [0] * processes
    store = HybridDocumentStore(folder)
    assert {document.id for document in store.filter_documents()} == {f"0-0-{number}" for number in range(processes)}
    store.close()


def main() -> None:
    """Run both for long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = kill_again_and_again(Path(folder), options.kills, longest=0.7)
        print(json.dumps({"kills": options.kills, "steps acknowledged": steps, "lost": 0}))
        rounds, batches = read_and_write(Path(folder) / "shared", options.seconds)
        print(json.dumps({"seconds": options.seconds, "rounds of reading": rounds, "batches written": batches, "lost": 0}))


if __name__ == "__main__":
    main()
