"""
The kinds of vector index of HybridDocumentStore beside each other, in one run.

    python benchmarks/vector_kinds.py [--vectors 100000] [--kinds flat hnsw ivf_sq8 auto] [--queries 50]

Vectors are 384 wide, in clusters as embeddings are. Prints for each kind: time to write and to close, time to open and answer the
first query, median and 95th percentile of a query with top 100, recall@100 against the exact scan, size on disk, memory of
the process that opened it (a process of its own for each).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from haystack import Document

from rerank_plugin import HybridDocumentStore

DIMENSIONS = 384
CLUSTERS = 2000
BATCH = 5000
TOP_K = 100


def vectors(count: int, seed: int) -> np.ndarray:
    """Unit vectors around shared centres; half of the length is the centre's, half their own."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIMENSIONS), dtype=np.float32)
    draw = np.random.default_rng(seed)
    found = centres[draw.integers(0, CLUSTERS, count)] + draw.standard_normal((count, DIMENSIONS), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def build(folder: str, kind: str, count: int) -> dict[str, float]:
    """Write and close an index."""
    start = time.perf_counter()
    store = HybridDocumentStore(folder, vector_index=kind)
    for first in range(0, count, BATCH):
        part = vectors(min(BATCH, count - first), seed=1 + first)
        store.write_documents([Document(id=f"{first + i}", embedding=row.tolist()) for i, row in enumerate(part)])
    written = time.perf_counter() - start
    store.close()
    size = sum(file.stat().st_size for file in (Path(folder) / "vectors").rglob("*") if file.is_file())
    return {"write s": written, "close s": time.perf_counter() - start - written, "index MB": size / 1e6}


def search(folder: str, kind: str, queries: int) -> dict[str, float]:
    """Open an index and search it."""
    asked = vectors(queries, seed=10**9).tolist()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    start = time.perf_counter()
    store = HybridDocumentStore(folder, vector_index=kind)
    store.embedding_retrieval(asked[0], top_k=TOP_K)
    opened = time.perf_counter() - start
    times = []
    for query in asked:
        start = time.perf_counter()
        store.embedding_retrieval(query, top_k=TOP_K)
        times.append((time.perf_counter() - start) * 1000)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    found = {"open s": opened, "median ms": float(np.median(times)), "p95 ms": float(np.percentile(times, 95))}
    return {**found, "MB before": before, "MB peak": memory, "recall@100": store.recall(TOP_K, queries) or 0.0}


def in_a_process_of_its_own(step: str, *arguments: object) -> dict[str, float]:
    """Run a step where nothing else has taken memory."""
    command = [sys.executable, __file__, "--step", step, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Build and search each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", default=["flat", "hnsw", "hnsw_sq8", "ivf", "ivf_sq8", "auto"])
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, folder, kind, number = options.step
        print(json.dumps({"build": build, "search": search}[step](folder, kind, int(number))))
        return
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            built = in_a_process_of_its_own("build", folder, kind, options.vectors)
            searched = in_a_process_of_its_own("search", folder, kind, options.queries)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in {**built, **searched}.items())
        print(f"{kind}, {options.vectors:,} vectors: {figures}", flush=True)


if __name__ == "__main__":
    main()
