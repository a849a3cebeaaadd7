"""Processes that fork with a store open: every write that was acknowledged is there, and no child waits for its parent's locks."""

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from haystack import Document
from soak.processes import PROCESSES, wait_until
from soak.report import Report, Size

from rerank_plugin.store import HybridDocumentStore

# SQLite waits a minute for a lock: a child without a first batch by then waits for a lock that is never released.
_SECONDS = 30.0
_BATCHES = 12


def _write_batches(store: HybridDocumentStore, who: str, log: Path, batches: int = _BATCHES) -> None:
    """Write batches of three documents and search; a line in the log acknowledges a batch."""
    acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for batch in range(batches):
        store.write_documents(
            [
                Document(id=f"{who}-{batch}-{n}", content=f"fox {who} {batch}", embedding=[1.0, batch / 7, n / 3])
                for n in range(3)
            ]
        )
        os.write(acknowledged, f"{who}-{batch}\n".encode())
        if batch % 4 == 0:
            store.bm25_retrieval("fox")
            store.embedding_retrieval([1.0, 0.0, 0.0])
        time.sleep(0.002)  # lets the processes interleave
    os.close(acknowledged)


def _child(work: Callable[[], None]) -> int:
    """Fork; the child runs the work and exits without the parent's exit handlers."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001 - the parent sees the status, and the log the reason
        os.write(2, f"child: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def _wait_for(children: list[int]) -> None:
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(statuses):
        os._exit(3)


def _opened(folder: Path, log: Path) -> HybridDocumentStore:
    store = HybridDocumentStore(folder)
    _write_batches(store, "before", log, batches=2)
    return store


def idle(folder: Path, log: Path) -> None:
    """The parent has the store open and does nothing."""
    store = _opened(folder, log)
    _wait_for([_child(lambda: _write_batches(store, "child", log))])
    _write_batches(store, "parent", log)
    store.close()


def busy(folder: Path, log: Path) -> None:
    """Another thread of the parent writes while it forks."""
    store, started = _opened(folder, log), threading.Event()

    def work() -> None:
        started.set()
        _write_batches(store, "thread", log, batches=5 * _BATCHES)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    children = []
    for number in range(2):
        time.sleep(random.Random(f"{folder}{number}").uniform(0, 0.03))  # somewhere in the middle of a write
        children.append(_child(lambda number=number: _write_batches(store, f"child{number}", log)))
    thread.join()
    _wait_for(children)
    store.close()


def parent_closes(folder: Path, log: Path) -> None:
    """The parent closes its store while the child goes on."""
    store = _opened(folder, log)
    child = _child(lambda: _write_batches(store, "child", log, batches=3 * _BATCHES))
    store.close()
    other = HybridDocumentStore(folder)
    _write_batches(other, "parent", log)
    other.close()
    _wait_for([child])


def parent_exits(folder: Path, log: Path) -> None:
    """The parent exits at once, as when a service daemonises itself."""
    store = _opened(folder, log)
    _child(lambda: _write_batches(store, "child", log, batches=4 * _BATCHES))
    os._exit(0)


def preload(folder: Path, log: Path) -> None:
    """A server opens the store, searches, and forks three workers, as `gunicorn --preload` does."""
    store = _opened(folder, log)
    store.warm_up()
    _wait_for([_child(lambda number=number: _write_batches(store, f"worker{number}", log)) for number in range(3)])
    store.close()


SCENES: dict[str, tuple[Callable[[Path, Path], None], list[str]]] = {
    "idle": (idle, ["child-11", "parent-11"]),
    "busy": (busy, ["thread-59", "child0-11", "child1-11"]),
    "parent_closes": (parent_closes, ["child-35", "parent-11"]),
    "parent_exits": (parent_exits, ["child-47"]),
    "preload": (preload, ["worker0-11", "worker1-11", "worker2-11"]),
}
"""For each scene the last batches: when they are acknowledged, all of its processes are done."""


def _start(scene: str, folder: Path, log: Path) -> None:
    os.setsid()  # so that the whole family can be ended, whoever has survived whom
    SCENES[scene][0](folder, log)


def run(size: Size, folder: Path) -> Report:
    """Take 50 rounds of five scenes; in each, others open and close the index while the family is at work."""
    report, acknowledged = Report("forks", "forks"), 0
    for seed in size.seeds(50, least=len(SCENES)):
        scene = list(SCENES)[seed % len(SCENES)]
        report.tried += 1
        try:
            acknowledged += round_of(scene, folder / f"{scene}{seed}")
        except Exception as error:  # noqa: BLE001 - whatever fell, the others are tried all the same
            report.fail(f"seed {seed}", f"{scene}: {type(error).__name__}: {error}")
        shutil.rmtree(folder / f"{scene}{seed}", ignore_errors=True)
    report.figures["batches acknowledged"] = acknowledged
    return report


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def round_of(scene: str, folder: Path) -> int:
    """Run a family of processes, and check the resulting index. Returns the acknowledged batches."""
    folder.mkdir()
    index, log = folder / "index", folder / "log"
    last = set(SCENES[scene][1])
    process = PROCESSES.Process(target=_start, args=(scene, index, log))
    process.start()
    looks = 0

    def is_done() -> bool:
        nonlocal looks
        looks += 1
        if looks % 10 == 0 and index.exists():
            # As a search from the command line does. The last connection to close a database deletes its write-ahead log.
            other = HybridDocumentStore(index)
            other.count_documents()
            other.close()
        return last <= set(_lines(log)) or process.exitcode not in (None, 0)

    try:
        in_time = wait_until(is_done, _SECONDS)
        if in_time and scene != "parent_exits":
            process.join(_SECONDS)
    finally:
        if process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.join()
    lines = _lines(log)
    if not in_time:
        raise AssertionError(f"after {_SECONDS:g} s {sorted(last - set(lines))} were not written; {len(lines)} batches were")
    if process.exitcode not in (0, -signal.SIGKILL):
        raise AssertionError(
            f"a process of the family failed (status {process.exitcode}); {len(lines)} batches were written"
        )
    expected = {f"{line}-{n}" for line in lines for n in range(3)}
    store = HybridDocumentStore(index)
    try:
        found = {document.id for document in store.filter_documents()}
        by_words = {document.id for document in store.bm25_retrieval("fox", top_k=100_000)}
        by_vectors = {document.id for document in store.embedding_retrieval([1.0, 0.0, 0.0], top_k=100_000)}
    finally:
        store.close()
    for name, ids in (("the index", found), ("keyword search", by_words), ("vector search", by_vectors)):
        if lost := expected - ids:
            raise AssertionError(f"{len(lost)} of {len(expected)} acknowledged documents are missing from {name}")
    return len(lines)
