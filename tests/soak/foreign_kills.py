"""`rerank index` into Qdrant and PostgreSQL, killed at any moment and restarted: the same documents as after an undisturbed run."""

import os
import random
import shutil
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from conftest import write_bi_encoder
from databases import Database, make_database, running_postgres, set_variables
from haystack import Document
from soak.corpora import write_files
from soak.processes import Running
from soak.report import Report, Size

_SECONDS = 180.0
_DIMENSION = 32
NAMES = ("qdrant", "pgvector")


def run(size: Size, folder: Path) -> Report:
    """Kill runs at 20 random moments for each database, and resume each; a third of them is killed twice."""
    os.environ["RERANK_PLUGIN_DATA"] = str(folder / "data")
    report = Report("foreign_kills", "kills")
    files = write_files(folder / "files", size.seed, files=size.of(16, least=6), lines=size.of(300, least=60))
    model = write_bi_encoder(folder / "models" / "bi-encoder")
    in_time = 0
    with running_postgres() as address:
        for name in NAMES:
            expected, seconds = _whole(folder, files, model, name, address)
            for seed in size.seeds(20, least=2):
                report.tried += 1
                try:
                    in_time += _kill_and_resume(folder, files, model, (name, address), seed, expected, seconds)
                except Exception as error:  # noqa: BLE001 - whatever fell, the others are tried all the same
                    report.fail(f"{name}, seed {seed}", f"{type(error).__name__}: {error}")
    report.figures["killed while at work"] = in_time
    return report


def _made(folder: Path, name: str, address: str, label: str) -> Database:
    engine = make_database(name, folder / label, dimension=_DIMENSION, postgres=address)
    set_variables(engine)
    return engine


def _index(folder: Path, files: Path, pipeline: Path) -> Running:
    ended = folder / f"{pipeline.parent.name}.ended"
    ended.unlink(missing_ok=True)
    return Running(ended, "index", files, "--pipeline", pipeline)


def _to_the_end(folder: Path, files: Path, pipeline: Path) -> str:
    ended = _index(folder, files, pipeline).result(_SECONDS)
    if ended.status != 0:
        raise AssertionError(f"rerank index ended with status {ended.status}: {ended.stderr}")
    return ended.stdout


def _whole(folder: Path, files: Path, model: Path, name: str, address: str) -> tuple[list[Document], float]:
    """Index undisturbed, twice; return the content, and the seconds of the second run."""
    for label in ("first", "whole"):
        engine = _made(folder, name, address, f"{name}-{label}")
        pipeline = engine.pipeline(engine.indexing, model=model)
        began = time.perf_counter()
        _to_the_end(folder, files, pipeline)
    return _contents(pipeline), time.perf_counter() - began


def _kill_and_resume(
    folder: Path, files: Path, model: Path, database: tuple[str, str], seed: int, expected: list[Document], seconds: float
) -> bool:
    name, address = database
    chance, killed = random.Random(seed), False
    engine = _made(folder, name, address, f"{name}-{seed}")
    pipeline = engine.pipeline(engine.indexing, model=model)
    for _ in range(2 if seed % 3 == 2 else 1):
        running = _index(folder, files, pipeline)
        running.process.join(chance.uniform(0, seconds))
        killed |= running.kill()
    _to_the_end(folder, files, pipeline)
    got = _contents(pipeline)
    if problem := _difference(expected, got):
        raise AssertionError(problem)
    again = _to_the_end(folder, files, pipeline)
    if not again.startswith("0 passages of 0 files"):
        raise AssertionError(f"one run more finds something to do: {again}")
    shutil.rmtree(engine.folder)
    return killed


def _contents(pipeline: Path) -> list[Document]:
    """Return the passages by file and text; ids depend on the name of the collection."""
    from rerank_plugin.indexing.places import open_place

    with closing(open_place(pipeline)) as place:
        documents = [document for _, part in place.parts(0, 1000) for document in part]
        if len({document.id for document in documents}) != len(documents):
            raise AssertionError("an id occurs twice")
    return sorted(documents, key=_place)


def _place(document: Document) -> tuple[str, str]:
    return document.meta["source"], document.content or ""


def _difference(expected: list[Document], got: list[Document]) -> str | None:
    if [_place(document) for document in got] != [_place(document) for document in expected]:
        return f"{len(got)} passages instead of {len(expected)}, or others"
    for document, other in zip(expected, got, strict=True):
        # Passages that are embedded with others, as after a kill, differ in the last bits; and Qdrant scales vectors to length 1
        # when it has to, so that one that was read and written again is shorter than another.
        if not np.allclose(_direction(document), _direction(other), rtol=0, atol=1e-4):
            return f"a passage of {_place(document)[0]} has another vector"
    return None


def _direction(document: Document) -> np.ndarray:
    vector = np.array(document.embedding)
    return vector / np.linalg.norm(vector)
