"""
Measure what a new process costs: from its start to the first answer, and how much longer the first call takes than later ones.

    python benchmarks/scoring/first_call.py COLLECTION [--model minilm-l6-en] [--case 100x20-170] [--processes 5] [--calls 6]

Each process ranks other passages in every call, of random lengths, so later calls meet new shapes as well. The peer is `import haystack`,
which is part of every start, measured in turn with ours. The first process converts the model if no earlier program has, and is not counted.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.evaluation.bench.material import draw_call, first_words, parse_case

CHILD = """
import json, sys, time
from haystack import Document
from rerank_plugin import CrossEncoderRanker
imported = time.time()
began, model, calls = json.loads(sys.stdin.readline())
ranker = CrossEncoderRanker(model=model)
ranker.warm_up()
warm = time.time()
times = []
for query, texts in calls:
    documents = [Document(id=str(n), content=text) for n, text in enumerate(texts)]
    at = time.perf_counter()
    ranker.run(query=query, documents=documents)
    times.append(time.perf_counter() - at)
    answered = time.time() if len(times) == 1 else answered
print(json.dumps({"imported": imported - began, "warm_up": warm - imported, "answered": answered - began, "calls": times}))
"""


def measure(model: str, calls: list[tuple[str, list[str]]]) -> dict:
    """Run a process, and return its seconds."""
    message = json.dumps([time.time(), model, calls])
    done = subprocess.run([sys.executable, "-c", CHILD], input=message + "\n", capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def import_haystack() -> float:
    """Return the seconds of a process that only imports Haystack."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import haystack"], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print medians and best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--model", default="minilm-l6-en")
    parser.add_argument("--case", default="100x20-170")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--calls", type=int, default=6)
    options = parser.parse_args()
    dataset, case = BeirDataset(options.collection), parse_case(options.case)
    queries = [query.text for query in dataset.queries().values()]
    words = first_words(dataset)
    rng, rows, peers = random.Random(7), [], []
    for _ in range(options.processes + 1):
        drawn = [draw_call(case, queries, words, rng) for _ in range(options.calls)]
        rows.append(measure(options.model, [(query, [d.content or "" for d in documents]) for query, documents in drawn]))
        peers.append(import_haystack())
    rows, peers = rows[1:], peers[1:]
    ratios = [row["calls"][0] / median(row["calls"][1:]) for row in rows]
    print(f"{options.model}, {case.name}, {len(rows)} processes")
    for name, values in [
        ("import haystack, a process of its own", peers),
        ("imports", [row["imported"] for row in rows]),
        ("warm_up", [row["warm_up"] for row in rows]),
        ("start to first answer", [row["answered"] for row in rows]),
        ("first call", [row["calls"][0] for row in rows]),
        ("later calls", [median(row["calls"][1:]) for row in rows]),
    ]:
        print(f"{name}: median {median(values):.2f} s, best {min(values):.2f}, worst {max(values):.2f}")
    print(f"first call / later ones: median {median(ratios):.2f}, best {min(ratios):.2f}, worst {max(ratios):.2f}")


if __name__ == "__main__":
    main()
