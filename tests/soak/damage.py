"""
Every file of an index damaged in every way: a search answers as if nothing had happened, or an error says what is wrong.

What must never happen is an answer that is shorter, or another one, in silence.
"""

import json
import logging
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from haystack import Document
from soak.corpora import embedding_pipeline, write_files
from soak.processes import PROCESSES, Running, attempt
from soak.report import Report, Size

from rerank_plugin.store import HybridDocumentStore

_REPOSITORY = Path(__file__).parents[2]
_FLIPS = 4
_FUTURE = 999
# How a search may answer: as before, as before after the damage was noticed, or not at all but in plain words.
GOOD = ("same", "rebuilt", "error")


def documents(first: int, count: int) -> list[Document]:
    """Documents with clearly clustered vectors, so that an approximate index finds the same as an exact one."""
    return [
        Document(
            id=f"{i:05}",
            content=f"fox number {i} {'red' if i % 3 else 'blue'}",
            meta={"n": i, "group": i % 16, "source": "made"},
            embedding=[1.0 if i % 16 == place else i / 100_000 for place in range(16)],
        )
        for i in range(first, first + count)
    ]


def answers(index: str) -> dict[str, Any]:
    """Read an index in every way; also return the log messages about damage."""
    logged: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    store = HybridDocumentStore(index)
    even = {"field": "meta.n", "operator": "in", "value": list(range(0, 3_000, 2))}
    all_documents = store.filter_documents()
    vectors = sorted((d for d in all_documents if d.embedding), key=lambda d: d.id)[::40] if all_documents else []
    said = {
        "count": store.count_documents(),
        "documents": sorted([d.id, d.content, sorted(map(str, d.meta.items())), str(d.embedding)] for d in all_documents),
        "filtered": sorted(d.id for d in store.filter_documents(even)),
        "filtered count": store.count_documents_by_filter(even),
        "bm25": [
            [[d.id, round(d.score, 4)] for d in store.bm25_retrieval(q, top_k=5_000)] for q in ("fox", "blue 7", "the")
        ],
        "bm25 filtered": sorted(d.id for d in store.bm25_retrieval("fox the", top_k=5_000, filters=even)),
        "dense": [sorted(d.id for d in store.embedding_retrieval(v.embedding, top_k=10)) for v in vectors],
        "dense, all": [sorted(d.id for d in store.embedding_retrieval(v.embedding, top_k=5_000)) for v in vectors[:1]],
        "dense filtered": [
            sorted(d.id for d in store.embedding_retrieval(v.embedding, top_k=10, filters=even)) for v in vectors[:1]
        ],
    }
    store.close()
    return {"said": said, "noticed": bool(logged)}


def _make_store(folder: str, kind: str, first: int, count: int) -> None:
    store = HybridDocumentStore(folder, vector_index=kind)
    store.write_documents(documents(first, count))
    store.bm25_retrieval("fox")
    store.embedding_retrieval(documents(0, 1)[0].embedding)
    store.close()


def _crash_while_open(folder: str, kind: str, pipe: Any) -> None:
    """Write, and wait to be killed, so that a write-ahead log is left."""
    store = HybridDocumentStore(folder, vector_index=kind)
    store.write_documents(documents(10_000, 30))
    store.delete_documents(["00003", "00004"])
    pipe.send("written")
    pipe.recv()


def _kinds(folder: Path, size: Size) -> Iterator[tuple[str, Path, Path]]:
    """Create indexes: name, folder, and a copy of the folder from before the last writes (the backup)."""
    count = 60 if size.scale < 0.5 else 2_100  # an approximate index is trained from 2,000 vectors on
    for kind in ("flat",) if size.scale < 0.5 else ("flat", "ivf_sq8", "hnsw"):
        index, backup = folder / kind, folder / f"{kind}-backup"
        attempt(_make_store, str(index), kind, 0, count - 40)
        shutil.copytree(index, backup)
        attempt(_make_store, str(index), kind, count - 40, 40)
        yield kind, index, backup
    crashed = folder / "crashed"
    shutil.copytree(folder / "flat", crashed)
    mine, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_crash_while_open, args=(str(crashed), "flat", theirs))
    process.start()
    mine.recv()
    process.kill()
    process.join()
    yield "crashed", crashed, folder / "flat-backup"


def _flip(path: Path, seed: str) -> None:
    data = bytearray(path.read_bytes())
    position = random.Random(seed).randrange(len(data))
    data[position] ^= 1 << random.Random(seed + "bit").randrange(8)
    path.write_bytes(data)


def _from_the_future(path: Path) -> bool:
    """Raise every number of a format in a file that states one. Returns whether it does."""
    if path.suffix == ".json":
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return False
        names = [name for name in state if name in ("format", "version")] if isinstance(state, dict) else []
        if names:
            path.write_text(json.dumps(state | dict.fromkeys(names, _FUTURE)), encoding="utf-8")
        return bool(names)
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"PRAGMA user_version = {_FUTURE}")
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'settings'").fetchone():
                connection.execute("UPDATE settings SET value = ? WHERE name = 'format'", (_FUTURE,))
        return True
    return False


def _backup_of(path: Path, index: Path, backup: Path) -> Path | None:
    """Find the corresponding file in the backup; the names of generations differ."""
    exact = backup / path.relative_to(index)
    if exact.is_file():
        return exact
    alike = [file for file in backup.rglob(f"*{''.join(path.suffixes[-2:])}") if path.suffix and file.is_file()]
    return alike[0] if alike else None


def _damages(path: Path, index: Path, backup: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Return the ways to damage a file: name -> function that damages a copy."""
    name = str(path.relative_to(index))
    yield "deleted", Path.unlink
    if path.stat().st_size:
        yield "emptied", lambda file: file.write_bytes(b"")
        yield "cut", lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        yield "cut by a byte", lambda file: file.write_bytes(file.read_bytes()[:-1])
        for number in range(_FLIPS):
            yield f"bit {number} flipped", lambda file, number=number: _flip(file, f"{name} {number}")
    older = _backup_of(path, index, backup)
    if older is not None and older.read_bytes() != path.read_bytes():
        yield "from a backup", lambda file: shutil.copyfile(older, file)
    if path.suffix in (".json", ".sqlite"):
        yield "from the future", _from_the_future


def _judge(index: Path, expected: dict[str, Any]) -> tuple[str, str]:
    generations = _generations(index)
    outcome = attempt(answers, str(index))
    if outcome.hung:
        return "HANG", "no answer after 60 s"
    if outcome.crashed is not None:
        return "CRASH", f"ended by signal {outcome.crashed}"
    if outcome.error is not None:
        if not outcome.project_error or "\n" in outcome.error:
            return "RAW ERROR", outcome.error
        if not any(word in outcome.error for word in (index.name, "index", "database")):
            return "VAGUE ERROR", outcome.error
        return "error", outcome.error
    said, noticed = outcome.value["said"], outcome.value["noticed"]
    rebuilt = noticed or _generations(index) != generations
    differing = [name for name, value in expected.items() if _other(name, said[name], value, rebuilt=rebuilt)]
    if not differing:
        return ("rebuilt" if rebuilt else "same"), ""
    shorter = [name for name in differing if len(str(said[name])) < len(str(expected[name]))]
    return ("SILENT" if shorter else "ALTERED"), f"other answers of: {', '.join(differing)}"


def _generations(index: Path) -> set[str]:
    return {folder.name for folder in index.rglob("generation-*")}


def _other(name: str, said: Any, expected: Any, *, rebuilt: bool) -> bool:
    if name == "bm25" and rebuilt:
        # A rebuilt index no longer counts deleted documents in document frequencies: the same hits, slightly different scores.
        said, expected = ([sorted(hit[0] for hit in hits) for hits in answer] for answer in (said, expected))
    return bool(said != expected)


def run(size: Size, folder: Path) -> Report:
    """Damage each file of four indexes in each way, and ask; then the files of an index that `rerank index` made."""
    report = Report("damage", "damages")
    verdicts: dict[str, int] = {}
    for kind, index, backup in _kinds(folder, size):
        pristine = folder / "copy"
        shutil.copytree(index, pristine)
        expected = attempt(answers, str(pristine)).value["said"]
        shutil.rmtree(pristine)
        _matrix(report, verdicts, kind, index, backup, lambda copy, expected=expected: _judge(copy, expected), size)
    _command_line(report, verdicts, folder, size)
    report.figures = dict(sorted(verdicts.items()))
    return report


def _matrix(
    report: Report,
    verdicts: dict[str, int],
    kind: str,
    index: Path,
    backup: Path,
    judge: Callable[[Path], tuple[str, str]],
    size: Size,
) -> None:
    for path in sorted(file for file in index.rglob("*") if file.is_file()):
        name, row = str(path.relative_to(index)), []
        for damage, inflict in _damages(path, index, backup):
            if size.scale < 0.5 and random.Random(f"{size.seed} {name} {damage}").random() > 2 * size.scale:
                continue
            copy = index.with_name("damaged")
            shutil.copytree(index, copy)
            inflicted = inflict(copy / name)
            verdict, why = ("", "") if inflicted is False else judge(copy)
            shutil.rmtree(copy)
            if not verdict:  # this file has no such thing
                continue
            report.tried += 1
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
            row.append(f"{damage}: {verdict}")
            if verdict not in GOOD:
                report.fail(f"{kind} {name} {damage}", f"{verdict}: {why}")
        if row:
            report.rows.append(f"{kind:8} {name}: {', '.join(row)}")


def _command_line(report: Report, verdicts: dict[str, int], folder: Path, size: Size) -> None:
    """An index of `rerank index`: the next run repairs damage or reports it, and never treats lost passages as unchanged."""
    files = write_files(folder / "files", size.seed, files=6, lines=40)
    pipeline, index, backup = embedding_pipeline(folder, _REPOSITORY), folder / "indexed", folder / "indexed-backup"
    ended = folder / "ended"

    def indexed(target: Path) -> Any:
        ended.unlink(missing_ok=True)
        return Running(ended, "index", files, "--index", target, "--pipeline", pipeline).result(120)

    indexed(index)
    shutil.copytree(index, backup)
    write_files(files, size.seed + 1, files=6, lines=60)
    indexed(index)
    shutil.copytree(index, folder / "copy")
    expected = attempt(answers, str(folder / "copy")).value["said"]

    def judge(copy: Path) -> tuple[str, str]:
        run = indexed(copy)
        if run.status == 1 and run.is_orderly:
            return "error", run.stderr
        if run.status != 0:
            return "RAW ERROR", run.stderr
        return _judge(copy, expected)

    _matrix(report, verdicts, "command", index, backup, judge, size)
