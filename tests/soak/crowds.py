"""Many threads and processes that read, write and create one index at the same time."""

import hashlib
import random
import threading
import time
from pathlib import Path
from typing import Any

from haystack import Document
from soak.processes import PROCESSES
from soak.report import Report, Size

from rerank_plugin.store import HybridDocumentStore


def signed(writer: int, batch: int, number: int) -> Document:
    """A document whose fields are consistent, so that partial writes are detected."""
    content = f"fox {writer} {batch} {number}"
    seal = hashlib.sha256(content.encode()).hexdigest()
    vector = [1.0, *(byte / 255 for byte in hashlib.sha256(content.encode()).digest()[:7])]
    meta = {"writer": writer, "batch": f"{writer}-{batch}", "seal": seal}
    return Document(id=f"{writer}-{batch}-{number}", content=content, meta=meta, embedding=vector)


def check_whole(document: Document) -> None:
    """Assert that the fields of a document belong together."""
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
    """Read in every way until stopped."""
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
    processes = [PROCESSES.Process(target=write, args=(folder, writer, seconds, log)) for writer, log in enumerate(logs)]
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
    """Let several processes create the same index at the same time."""
    together = PROCESSES.Barrier(processes)
    made = [PROCESSES.Process(target=create, args=(folder, number, together)) for number in range(processes)]
    for process in made:
        process.start()
    for process in made:
        process.join()
    assert [process.exitcode for process in made] == [0] * processes
    store = HybridDocumentStore(folder)
    assert {document.id for document in store.filter_documents()} == {f"0-0-{number}" for number in range(processes)}
    store.close()


def run(size: Size, folder: Path) -> Report:
    """Read and write for a minute, and make indexes together, 20 times."""
    report = Report("crowds", "rounds of reading")
    try:
        rounds, batches = read_and_write(folder / "shared", seconds=max(1.0, 60 * size.scale))
        report.tried = rounds
        report.figures["batches written"] = batches
    except Exception as error:  # noqa: BLE001 - the report says what fell
        report.fail("read_and_write", f"{type(error).__name__}: {error}")
    for seed in size.seeds(20):
        try:
            create_together(folder / f"together{seed}")
        except Exception as error:  # noqa: BLE001 - the report says what fell
            report.fail(f"create_together {seed}", f"{type(error).__name__}: {error}")
    return report
