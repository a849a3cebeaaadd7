"""
Measure one store, in its own process; prints one line of JSON.

    python stores.py STORE STEP FOLDER DATASET VECTORS PASSAGES QUERIES

STORE is `ours` (with the vector index `auto`), `ours-hnsw` or another kind, `faiss_haystack` or `in_memory`; STEP is `write` or
`search` (`in_memory` has only `search`, as it cannot be opened again). It also runs in the peer's environment, so each store is
imported where it is used.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import collection
import numpy as np

TOP_K = 100
FILTERED_TOP_K = 10
ADDED = 1000
GROUP = 7

Figures = dict[str, float]


class Data(NamedTuple):
    """The texts and vectors of the collection."""

    texts: Path
    vectors: collection.Vectors


class Ours:
    """HybridDocumentStore."""

    def __init__(self, folder: Path, kind: str) -> None:
        from rerank_plugin import HybridDocumentStore

        self._store = HybridDocumentStore(folder / "index", vector_index=kind or "auto")

    def write(self, documents: list[Any]) -> None:
        """Write documents."""
        self._store.write_documents(documents)

    def delete(self, ids: list[str]) -> None:
        """Delete documents."""
        self._store.delete_documents(ids)

    def commit(self) -> None:
        """Make everything searchable, by words and by vectors; it is already on disk."""
        self._store.warm_up()

    def close(self) -> None:
        """Complete the files."""
        self._store.close()

    def by_words(self, query: str, filters: dict[str, Any] | None = None) -> list[Any]:
        """Search by words."""
        return self._store.bm25_retrieval(query, filters=filters, top_k=TOP_K)

    def by_vector(self, query: list[float], filters: dict[str, Any] | None, top_k: int) -> list[Any]:
        """Search by a vector."""
        return self._store.embedding_retrieval(query, filters=filters, top_k=top_k)


class FaissHaystack:
    """faiss-haystack's FAISSDocumentStore with its default index, Flat."""

    by_words = None

    def __init__(self, folder: Path, _: str) -> None:
        from haystack_integrations.document_stores.faiss import FAISSDocumentStore

        self._path = folder / "index"
        self._store = FAISSDocumentStore(index_path=str(self._path), embedding_dim=collection.DIMENSIONS)

    def write(self, documents: list[Any]) -> None:
        """Write documents."""
        self._store.write_documents(documents)

    def delete(self, ids: list[str]) -> None:
        """Delete documents."""
        self._store.delete_documents(ids)

    def commit(self) -> None:
        """Save to disk; without it everything is lost with the process."""
        self._store.save(self._path)

    def close(self) -> None:
        """There is nothing to close."""

    def by_vector(self, query: list[float], filters: dict[str, Any] | None, top_k: int) -> list[Any]:
        """Search by a vector."""
        return self._store.search(query_embedding=query, filters=filters, top_k=top_k)


class InMemory:
    """Haystack's InMemoryDocumentStore."""

    by_vector = None

    def __init__(self, _: Path, __: str) -> None:
        from haystack.document_stores.in_memory import InMemoryDocumentStore

        self._store = InMemoryDocumentStore()

    def write(self, documents: list[Any]) -> None:
        """Write documents."""
        self._store.write_documents(documents)

    def by_words(self, query: str, filters: dict[str, Any] | None = None) -> list[Any]:
        """Search by words."""
        return self._store.bm25_retrieval(query, filters=filters, top_k=TOP_K)


def peak_mb() -> float:
    """Return the peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def seconds(call: Callable[[], object]) -> float:
    """Return the time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def latency(name: str, calls: list[Callable[[], object]]) -> Figures:
    """Return median and 95th percentile in milliseconds, after a warm-up call."""
    calls[0]()
    times = [seconds(call) * 1000 for call in calls]
    return {f"{name} median ms": float(np.median(times)), f"{name} p95 ms": float(np.percentile(times, 95))}


def write(make: Callable[[Path], Any], folder: Path, data: Data, passages: int, _: int) -> Figures:
    """Write a collection, make it searchable and durable; then write and delete 1,000 more documents."""
    store = make(folder)
    writing = 0.0
    for batch in collection.documents(data.texts, data.vectors, 0, passages):
        writing += seconds(lambda batch=batch: store.write(batch))
    committing = seconds(store.commit)
    (more,) = collection.documents(data.texts, data.vectors, passages, ADDED)
    adding = seconds(lambda: store.write(more)) + seconds(store.commit)
    ids = [document.id for document in more]
    deleting = seconds(lambda: store.delete(ids)) + seconds(store.commit)
    gone = set(ids)
    results = [store.by_vector(document.embedding, None, TOP_K) for document in more[:20]]
    assert not gone & {hit.id for hits in results for hit in hits}, "a deleted document was returned"
    closing = seconds(store.close)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    return {
        "write s": writing,
        "commit s": committing,
        "1,000 more s": adding,
        "1,000 deleted s": deleting,
        "close s": closing,
        "disk MB": size,
        "write MB peak": peak_mb(),
    }


def search(make: Callable[[Path], Any], folder: Path, data: Data, passages: int, count: int) -> Figures:
    """Open a collection written before, and search it."""
    words = collection.queries(data.texts, count)
    asked = data.vectors.queries[:count]
    before = peak_mb()
    opened: list[Any] = []
    figures: Figures = {"open s": seconds(lambda: opened.append(make(folder)))}
    store = opened[0]
    if isinstance(store, InMemory):
        for batch in collection.documents(data.texts, None, 0, passages):
            store.write(batch)
    if store.by_words is not None:
        only = {"field": "meta.group", "operator": "==", "value": GROUP}
        figures["first keyword s"] = seconds(lambda: store.by_words(words[0]))
        figures |= latency("keyword", [lambda query=query: store.by_words(query) for query in words])
        figures |= latency("filtered keyword", [lambda query=query: store.by_words(query, only) for query in words])
    if store.by_vector is not None:
        figures["first dense s"] = seconds(lambda: store.by_vector(asked[0].tolist(), None, TOP_K))
        figures |= latency("dense", [lambda v=v: store.by_vector(v.tolist(), None, TOP_K) for v in asked])
        figures |= filtered(store, asked)
    figures |= {"MB before": before, "MB peak": peak_mb()}
    if store.by_vector is not None:
        figures |= quality(store, data.vectors, asked, passages)
    return figures


def filtered(store: Any, asked: np.ndarray) -> Figures:
    """Time a search in 0.5 % of the documents, and count the hits."""
    only = {"field": "meta.group", "operator": "==", "value": GROUP}
    results = [store.by_vector(vector.tolist(), only, FILTERED_TOP_K) for vector in asked]
    times = latency("filtered", [lambda v=v: store.by_vector(v.tolist(), only, FILTERED_TOP_K) for v in asked])
    return {**times, f"filtered hits of {FILTERED_TOP_K}": float(np.mean([len(hits) for hits in results]))}


def quality(store: Any, vectors: collection.Vectors, asked: np.ndarray, passages: int) -> Figures:
    """Compare with an exact scan: recall of a search, and of a search in 0.5 % of the documents."""
    parts = [(start, collection.BATCH) for start in range(0, passages, collection.BATCH)]
    scores = np.concatenate([asked @ vectors.part(*part).T for part in parts], axis=1)
    only = {"field": "meta.group", "operator": "==", "value": GROUP}
    group = np.arange(GROUP, scores.shape[1], collection.GROUPS)
    gc.collect()

    def recall(filters: dict[str, Any] | None, top_k: int, rows: np.ndarray) -> float:
        shares = []
        for vector, row in zip(asked, scores, strict=True):
            best = {str(rows[i]) for i in np.argsort(-row[rows])[:top_k]}
            shares.append(len(best & {hit.id for hit in store.by_vector(vector.tolist(), filters, top_k)}) / len(best))
        return float(np.mean(shares))

    return {
        f"recall@{TOP_K}": recall(None, TOP_K, np.arange(scores.shape[1])),
        f"filtered recall@{FILTERED_TOP_K}": recall(only, FILTERED_TOP_K, group),
    }


def main() -> None:
    """Run one step."""
    name, step, folder, texts, vectors, passages, count = sys.argv[1:]
    name, _, kind = name.partition("-")
    store = {"ours": Ours, "faiss_haystack": FaissHaystack, "in_memory": InMemory}[name]
    run = {"write": write, "search": search}[step]
    data = Data(Path(texts), collection.Vectors(Path(vectors)))
    print(json.dumps(run(lambda place: store(place, kind), Path(folder), data, int(passages), int(count))))


if __name__ == "__main__":
    main()
