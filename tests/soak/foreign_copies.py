"""`rerank copy` of 100,000 passages into PostgreSQL, killed twice: all of them arrive, with their vectors."""

import json
import os
import random
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from databases import make_database, running_postgres, set_variables
from soak.processes import Running, wait_until
from soak.report import Report, Size

_SECONDS = 3600.0
_DIMENSION = 384
_PASSAGES_PER_WRITE = 5_000


def run(size: Size, folder: Path) -> Report:
    """Copy an index with random vectors, kill the copy at two moments, resume it, and compare every passage and vector."""
    os.environ["RERANK_PLUGIN_DATA"] = str(folder / "data")
    report = Report("foreign_copies", "passages")
    passages = size.of(100_000, least=2_000)
    _write(folder / "index", passages, size.seed)
    with running_postgres() as address:
        engine = make_database("pgvector", folder / "pgvector", dimension=_DIMENSION, postgres=address)
        set_variables(engine)
        pipeline = engine.pipeline(engine.indexing)
        began = time.perf_counter()
        kills = _copy_with_kills(folder, pipeline, passages, random.Random(size.seed))
        report.figures["killed after passages"] = kills
        report.figures["seconds"] = round(time.perf_counter() - began, 1)
        report.tried = passages
        if problem := _difference(folder / "index", pipeline, passages):
            report.fail(f"seed {size.seed}", problem)
    return report


def _write(index: Path, passages: int, seed: int) -> None:
    from haystack import Document

    from rerank_plugin import HybridDocumentStore

    chance = np.random.default_rng(seed)
    with HybridDocumentStore(index) as store:
        for start in range(0, passages, _PASSAGES_PER_WRITE):
            numbers = range(start, min(start + _PASSAGES_PER_WRITE, passages))
            vectors = chance.normal(size=(len(numbers), _DIMENSION)).astype("float32")
            store.write_documents(
                [
                    Document(
                        id=f"{i:064x}", content=f"passage {i}", meta={"source": f"{i % 99}.md"}, embedding=vector.tolist()
                    )
                    for i, vector in zip(numbers, vectors, strict=True)
                ]
            )


def _copy_with_kills(folder: Path, pipeline: Path, passages: int, chance: random.Random) -> list[int]:
    """Kill the copy twice, each time when it has got some way, and let it end; return how far it had got."""
    kills = []
    for share in (chance.uniform(0.05, 0.4), chance.uniform(0.45, 0.9)):
        running = Running(folder / "copy.ended", "copy", "--from", folder / "index", "--to", pipeline, "--json")
        if not wait_until(lambda share=share: _copied(folder) >= share * passages, _SECONDS):
            raise AssertionError(f"the copy has got no further than {_copied(folder)}")
        running.kill()
        kills.append(_copied(folder))
    running = Running(folder / "copy.ended", "copy", "--from", folder / "index", "--to", pipeline, "--json")
    ended = running.result(_SECONDS)
    if ended.status != 0:
        raise AssertionError(f"rerank copy ended with status {ended.status}: {ended.stderr}")
    said = json.loads(ended.stdout)
    if said["total"] != passages or said["resumed"] < kills[-1]:
        raise AssertionError(f"it says {said}")
    return kills


def _copied(folder: Path) -> int:
    checkpoints = list((folder / "data" / "copies").glob("*.json"))
    return json.loads(checkpoints[0].read_text(encoding="utf-8"))["checkpoint"]["copied"] if checkpoints else 0


def _difference(index: Path, pipeline: Path, passages: int) -> str | None:
    from rerank_plugin import HybridDocumentStore
    from rerank_plugin.indexing.places import open_place

    with closing(open_place(pipeline)) as place, HybridDocumentStore(index) as store:
        there = {document.id: document for _, part in place.parts(0, 1000) for document in part}
        if len(there) != passages:
            return f"{len(there)} of {passages} passages are there"
        row = 0
        while part := store.read_after(row, 1000):
            row = part[-1][0]
            for _, document in part:
                other = there[document.id]
                if (document.content, document.meta) != (other.content, other.meta):
                    return f"{document.id} differs"
                if not np.allclose(document.embedding, other.embedding, rtol=0, atol=1e-6):
                    return f"{document.id} has another vector"
    return None
