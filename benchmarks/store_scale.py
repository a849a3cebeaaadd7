"""
HybridDocumentStore beside Haystack's InMemoryDocumentStore, in one run.

    python benchmarks/store_scale.py BEIR_FOLDER [--split train] [--passages 100000] [--queries 50]

The passages of the collection are repeated, each copy with a word of its own, until there are enough; vectors are random and
normalised, 384 wide. Prints build time, open time, median query time and memory.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from rerank_plugin import HybridDocumentStore
from rerank_plugin.beir import BeirDataset

DIMENSIONS = 384
BATCH = 1000
TOP_K = 100


def batches(dataset: BeirDataset, count: int, *, vectors: bool) -> Iterator[list[Document]]:
    """Documents with ids of their own, in batches."""
    rng = np.random.default_rng(42)
    passages = enumerate(islice(cycle(list(dataset.documents())), count))
    while batch := list(islice(passages, BATCH)):
        matrix = rng.standard_normal((len(batch), DIMENSIONS), dtype=np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        yield [
            Document(
                id=f"{i}",
                content=f"{passage.text} copy{i}",
                meta={"title": passage.title},
                embedding=row.tolist() if vectors else None,
            )
            for (i, passage), row in zip(batch, matrix, strict=True)
        ]


def memory() -> float:
    """Resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def measure_ours(dataset: BeirDataset, queries: list[str], passages: int) -> float:
    """Build, open and search our store; return the median time of a keyword query."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = HybridDocumentStore(folder)
        for batch in batches(dataset, passages, vectors=True):
            store.write_documents(batch)
        store.bm25_retrieval(queries[0], top_k=TOP_K)
        store.close()
        print(f"HybridDocumentStore: {passages} passages with vectors written in {time.perf_counter() - start:.1f} s")
        store = HybridDocumentStore(folder)
        vector = np.random.default_rng(1).standard_normal(DIMENSIONS).tolist()
        first = timed(lambda: store.bm25_retrieval(queries[0], top_k=TOP_K))
        first_dense = timed(lambda: store.embedding_retrieval(vector, top_k=TOP_K))
        print(f"  first query after opening: keyword {first:.0f} ms, dense {first_dense:.0f} ms")
        keyword = median(timed(lambda q=query: store.bm25_retrieval(q, top_k=TOP_K)) for query in queries)
        dense = median(timed(lambda: store.embedding_retrieval(vector, top_k=TOP_K)) for _ in queries)
        print(f"  median query, top {TOP_K}: keyword {keyword:.2f} ms, dense {dense:.2f} ms")
        print(
            f"  memory of the process: {memory():.0f} MB now, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB peak"
        )
        store.close()
    return keyword


def measure_peer(dataset: BeirDataset, queries: list[str], passages: int) -> float:
    """Build and search Haystack's in-memory store, without vectors; return the median time of a keyword query."""
    before = memory()
    store = InMemoryDocumentStore()
    start = time.perf_counter()
    for batch in batches(dataset, passages, vectors=False):
        store.write_documents(batch)
    print(f"InMemoryDocumentStore: {passages} passages without vectors written in {time.perf_counter() - start:.1f} s")
    retriever = InMemoryBM25Retriever(store, top_k=TOP_K)
    keyword = median(timed(lambda q=query: retriever.run(query=q)) for query in queries)
    print(f"  median query, top {TOP_K}: keyword {keyword:.2f} ms")
    print(f"  memory that it added to the process: {memory() - before:.0f} MB")
    return keyword


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=50)
    options = parser.parse_args()
    dataset = BeirDataset(options.dataset)
    queries = [query.text for query in islice(dataset.queries(options.split).values(), options.queries)]
    print(f"memory after the imports: {memory():.0f} MB")
    ours = measure_ours(dataset, queries, options.passages)
    peer = measure_peer(dataset, queries[:10], options.passages)
    print(f"keyword query: {peer / ours:.0f}x the speed of the in-memory store")


if __name__ == "__main__":
    main()
