"""Odd circumstances: folders that move or are copied in the middle of a write, clocks, read-only disks, bombs, secrets in logs."""

import contextlib
import json
import logging
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haystack import Document, Pipeline
from haystack.utils import Secret
from soak.corpora import ranker_model
from soak.processes import PROCESSES, Outcome, attempt, wait_until
from soak.report import Report, Size

from rerank_plugin import BM25Retriever, CrossEncoderRanker, HybridDocumentStore

_SECRET = "hf_NobodyMaySeeThisToken0123456789"


class SkippedError(Exception):
    """A circumstance that cannot be reproduced on this machine."""


def _documents(first: int, count: int) -> list[Document]:
    return [
        Document(id=f"{i:05}", content=f"fox number {i}", meta={"n": i}, embedding=[1.0, i / 7, 0.5])
        for i in range(first, first + count)
    ]


def _whole(folder: Path | str, *, least: int = 0) -> int:
    """Check that the three ways to find documents agree. Returns how many there are."""
    store = HybridDocumentStore(folder)
    ids = {document.id for document in store.filter_documents()}
    assert {document.id for document in store.bm25_retrieval("fox", top_k=100_000)} == ids, "keyword search misses some"
    assert {d.id for d in store.embedding_retrieval([1.0, 0.0, 0.0], top_k=100_000)} == ids, "vector search misses some"
    store.close()
    assert len(ids) >= least, f"{len(ids)} documents, {least} were acknowledged"
    return len(ids)


def _write_on(folder: str, log: str, seconds: float) -> None:
    store, end, count = HybridDocumentStore(folder), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        store.write_documents(_documents(count, 20))
        count += 20
        Path(log).write_text(str(count), encoding="utf-8")
        store.bm25_retrieval("fox")
    store.close()


def copied_while_written(folder: Path, rounds: int) -> str:
    """A copy made with `cp -r` during a write opens and is complete, or gives a clear error."""
    opened = refused = 0
    for number in range(rounds):
        index, log, copy = folder / f"index{number}", folder / f"log{number}", folder / f"copy{number}"
        process = PROCESSES.Process(target=_write_on, args=(str(index), str(log), 2.0))
        process.start()
        wait_until(log.exists, 30)
        time.sleep(number % 7 * 0.1)
        with contextlib.suppress(shutil.Error):  # a file that is deleted while it is copied, as with `cp -r`
            shutil.copytree(index, copy)
        outcome = attempt(_whole, str(copy))
        process.join()
        _judge(outcome, f"round {number}")
        opened, refused = opened + (outcome.error is None), refused + (outcome.error is not None)
        _whole(index, least=int(log.read_text(encoding="utf-8")))
    return f"{opened} copies opened whole, {refused} were refused in words"


def _judge(outcome: Outcome, what: str) -> None:
    assert not outcome.hung, f"{what}: hangs"
    assert outcome.crashed is None, f"{what}: crashes (signal {outcome.crashed})"
    if outcome.error is not None:
        assert outcome.project_error, f"{what}: {outcome.error}"
        assert "\n" not in outcome.error, f"{what}: more than a line: {outcome.error}"


def _move(index: str, moved: str) -> int:
    store = HybridDocumentStore(index)
    store.write_documents(_documents(0, 20))
    store.bm25_retrieval("fox")
    os.rename(index, moved)  # noqa: PTH104 - what mv does
    try:
        store.write_documents(_documents(20, 20))
        acknowledged = 40
    except Exception:  # noqa: BLE001 - judged by what is there afterwards
        acknowledged = 20
    store.close()
    return acknowledged


def moved_while_open(folder: Path, rounds: int) -> str:
    """An index is moved while a store has it open: acknowledged changes are in one of the two places."""
    outcome = attempt(_move, str(folder / "index"), str(folder / "moved"))
    _judge(outcome, "the store that was open")
    there = {
        document.id for name in ("index", "moved") for document in HybridDocumentStore(folder / name).filter_documents()
    }
    assert len(there) >= outcome.value, f"{outcome.value} documents were acknowledged, {len(there)} are there"
    for name in ("index", "moved"):
        _judge(attempt(_whole, str(folder / name)), name)
    return f"{outcome.value} acknowledged, {len(there)} there"


def _set_clock_back(index: str) -> None:
    seconds = time.time()
    for name in ("time", "time_ns"):
        factor = 1 if name == "time" else 1_000_000_000
        setattr(time, name, lambda factor=factor: (seconds - 400 * 86_400) * factor)
    store = HybridDocumentStore(index)
    store.write_documents(_documents(20, 20))
    store.close()
    old = seconds - 400 * 86_400
    for file in Path(index).rglob("*"):
        os.utime(file, (old, old))
    _whole(index, least=40)


def clock_set_back(folder: Path, rounds: int) -> str:
    """The clock, and so the dates of all files, go back a year; no result may depend on them."""
    store = HybridDocumentStore(folder / "index")
    store.write_documents(_documents(0, 20))
    store.close()
    outcome = attempt(_set_clock_back, str(folder / "index"))
    assert outcome.error is None, outcome.error
    _whole(folder / "index", least=40)
    return "Python's clock and the files' dates; not the system's own, which SQLite and the libraries read"


def _read_only(index: str, user: int) -> None:
    os.setgid(user)
    os.setuid(user)
    _whole(index, least=20)
    HybridDocumentStore(index).write_documents(_documents(50, 1))


def read_only(folder: Path, rounds: int) -> str:
    """An index in a read-only folder can be searched; a write gives a clear error."""
    user = os.getuid() or 65_534  # root can write to read-only folders
    store = HybridDocumentStore(folder / "index")
    store.write_documents(_documents(0, 20))
    store.bm25_retrieval("fox")
    store.close()
    paths = [folder / "index", *(folder / "index").rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in [folder, *folder.parents]:
        if parent.owner() == folder.owner() and tempfile.gettempdir() in map(str, parent.parents):
            parent.chmod(parent.stat().st_mode | 0o001)
    try:
        outcome = attempt(_read_only, str(folder / "index"), user)
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    _judge(outcome, "a read-only index")
    assert outcome.error is not None, "a write into a read-only folder was acknowledged"
    assert "cannot be written" in outcome.error or "read-only" in outcome.error, outcome.error
    return outcome.error


def used_after_close(folder: Path, rounds: int) -> str:
    """Stores, retrievers and rankers are used after they were closed, and closed twice: they open again, or say so."""
    store = HybridDocumentStore(folder / "index")
    ranker = CrossEncoderRanker(model=str(ranker_model(folder)), score_cache=folder / "scores.sqlite")
    candidates = [Document(id=str(i), content=f"the red fox {i}") for i in range(5)]
    first = [d.id for d in ranker.run(query="red fox", documents=candidates)["documents"]]
    for _ in range(3):
        store.write_documents(_documents(store.count_documents(), 5))
        BM25Retriever(document_store=store).run(query="fox")
        for thing in (store, store, ranker, ranker):
            thing.close()
        assert [d.id for d in ranker.run(query="red fox", documents=candidates)["documents"]] == first
    _whole(folder / "index", least=15)
    return "opened again"


def _load(model: str) -> None:
    import resource

    size = 16 << 30  # memory claimed by a header must not be allocated
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    CrossEncoderRanker(model=model).run(query="red fox", documents=[Document(content="fox")])


def header_bombs(folder: Path, rounds: int) -> str:
    """Files whose header claims 2^60 bytes: weights, an early-exit network, a JSON file, vectors."""
    model, tried, fell = ranker_model(folder), 0, []

    def judge(outcome: Outcome, what: str) -> None:
        try:
            _judge(outcome, what)
        except AssertionError as error:
            fell.append(str(error))

    huge = struct.pack("<Q", 1 << 60)
    named = json.dumps({"x": {"dtype": "F32", "shape": [1 << 58], "data_offsets": [0, 1 << 60]}}).encode()
    bombs: dict[str, bytes] = {"header": huge + b"{}", "tensor": struct.pack("<Q", len(named)) + named, "nothing": b""}
    for target in ("model.safetensors", "early_exit.safetensors", "config.json", "tokenizer.json", "calibration.json"):
        for name, data in bombs.items():
            copy = folder / "bomb"
            shutil.copytree(model, copy)
            (copy / target).write_bytes(data)
            outcome = attempt(_load, str(copy), seconds=120)
            shutil.rmtree(copy)
            tried += 1
            judge(outcome, f"{target}, {name}")
    index = folder / "index"
    store = HybridDocumentStore(index, vector_index="hnsw")
    store.write_documents(_documents(0, 2_050))
    store.embedding_retrieval([1.0, 0.0, 0.0])
    store.close()
    for file in [file for file in index.rglob("*") if file.suffix in (".faiss", ".npy")]:
        pristine, copy = file.read_bytes(), folder / "copy"
        for at in range(0, min(len(pristine), 200), 8):
            shutil.copytree(index, copy)
            (copy / file.relative_to(index)).write_bytes(pristine[:at] + huge + pristine[at + 8 :])
            tried += 1
            judge(attempt(_searched_in_little_memory, str(copy)), f"{file.suffix}, 2^60 at byte {at}")
            shutil.rmtree(copy)
    assert not fell, f"{len(fell)} of {tried} bombs: {'; '.join(fell)}"
    return f"{tried} bombs"


def _searched_in_little_memory(index: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    store = HybridDocumentStore(index, vector_index="hnsw")
    hits = store.embedding_retrieval([1.0, 3 / 7, 0.5], top_k=10)
    assert len(hits) == 10, f"{len(hits)} of 10 hits"


def _rank_with(model: str, cache: str, converted: str, number: int) -> list[Any]:
    os.environ["RERANK_PLUGIN_CACHE"] = converted
    ranker = CrossEncoderRanker(model=model, score_cache=cache, score_cache_size=40)
    answers = []
    for turn in range(30):
        documents = [Document(id=str(i), content=f"the red fox {(i + turn + number) % 25} sea") for i in range(10)]
        ranked = ranker.run(query=f"red fox {turn % 3}", documents=documents)["documents"]
        answers.append({document.content: round(document.score, 4) for document in ranked})
    ranker.close()
    return answers


def shared_caches(folder: Path, rounds: int) -> str:
    """Several processes convert one model at the same time and share a score cache; all get the same scores."""
    import concurrent.futures

    model, processes = str(ranker_model(folder)), 4
    alone = [attempt(_rank_with, model, "memory", str(folder / "alone"), n).value for n in range(processes)]
    for number in range(rounds):
        cache, converted = str(folder / f"scores{number}.sqlite"), str(folder / f"converted{number}")
        with concurrent.futures.ThreadPoolExecutor(processes) as pool:
            outcomes = list(
                pool.map(lambda n, c=cache, k=converted: attempt(_rank_with, model, c, k, n, seconds=600), range(processes))
            )
        for n, outcome in enumerate(outcomes):
            assert outcome.value is not None, f"process {n}: {outcome}"
            differing = sum(
                abs(score - other[text]) > 2e-3
                for mine, other in zip(outcome.value, alone[n], strict=True)
                for text, score in mine.items()
            )
            assert not differing, f"process {n}: {differing} scores are others than alone"
    return f"{processes} processes, {rounds} rounds"


def secrets(folder: Path, rounds: int) -> str:
    """A token never appears in logs (down to DEBUG), errors, representations or saved files."""
    said: list[str] = []
    handler, root = logging.Handler(logging.DEBUG), logging.getLogger()
    handler.emit = lambda record: said.append(handler.format(record))  # type: ignore[method-assign]
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        for token in (Secret.from_token(_SECRET), Secret.from_env_var("SOAK_TOKEN")):
            os.environ["SOAK_TOKEN"] = _SECRET
            for model in (str(ranker_model(folder)), str(folder / "missing"), "nobody/no-such-model", str(folder)):
                _use(CrossEncoderRanker(model=model, token=token), said)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        del os.environ["SOAK_TOKEN"]
    seen = [line for line in said if _SECRET in line]
    assert not seen, f"the token shows {len(seen)} times, such as: {seen[0][:300]}"
    files = [file for file in folder.rglob("*") if file.is_file() and _SECRET.encode() in file.read_bytes()]
    assert not files, f"the token was written to {files[0]}"
    return f"{len(said)} lines looked through"


def _use(ranker: CrossEncoderRanker, said: list[str]) -> None:
    said.append(repr(ranker))
    actions: list[Callable[[], Any]] = [
        lambda: ranker.run(query="red fox", documents=[Document(content="fox")]),
        ranker.to_dict,
        lambda: _dumped(ranker),
        lambda: vars(ranker.run(query="x", documents=[])["status"]),
        lambda: repr(ranker._reranking.__dict__) if hasattr(ranker, "_reranking") else "",
    ]
    for action in actions:
        try:
            said.append(str(action()))
        except Exception as error:  # noqa: BLE001 - what it says is looked at
            while error is not None:
                said.append(f"{type(error).__name__}: {error} {getattr(error, '__notes__', '')}")
                error = error.__cause__ or error.__context__  # type: ignore[assignment]


def _dumped(ranker: CrossEncoderRanker) -> str:
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    return pipeline.dumps()


CIRCUMSTANCES: dict[str, Callable[[Path, int], str]] = {
    function.__name__: function
    for function in (
        copied_while_written, moved_while_open, clock_set_back, read_only, used_after_close, header_bombs, shared_caches, secrets,
    )
}  # fmt: skip


def run(size: Size, folder: Path) -> Report:
    """Run each circumstance, those that depend on chance ten times."""
    report = Report("odd", "circumstances")
    for name, circumstance in CIRCUMSTANCES.items():
        place = folder / name
        place.mkdir()
        report.tried += 1
        try:
            report.rows.append(f"{name}: {circumstance(place, size.of(10))}")
        except SkippedError as reason:
            report.skipped.append(f"{name}: {reason}")
        except Exception as error:  # noqa: BLE001 - whatever fell, the others are tried all the same
            report.fail(name, f"{type(error).__name__}: {error}")
    return report
