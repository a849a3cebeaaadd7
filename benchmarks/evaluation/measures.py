"""
Evaluate a large run: our `evaluate` against ir-measures and pytrec_eval on the same dictionaries, with the peak memory of each.

    python benchmarks/evaluation/measures.py [--queries 10000] [--candidates 1000] [--rounds 3]

Each system runs in its own process, to measure its memory; the rounds alternate. The run has random scores with ties, and three
judged documents per query. Prints one table: seconds (median), relative to ours, and megabytes of the whole process, run included.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

import numpy as np

MEASURES = ("nDCG@10", "RR@10", "AP", "P@10", "R@100", "Judged@10")
TREC_MEASURES = {"ndcg_cut.10", "recip_rank", "map", "P.10", "recall.100"}
DOCUMENTS = 200_000
JUDGED = 3


def make(queries: int, candidates: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """Return a run and judgements; queries share document ids, as in a real collection."""
    rng = np.random.default_rng(0)
    ids = [f"doc-{number}" for number in range(DOCUMENTS)]
    run, qrels = {}, {}
    for number in range(queries):
        chosen = rng.choice(DOCUMENTS, candidates, replace=False).tolist()
        scores = np.round(rng.random(candidates), 3).tolist()
        run[f"q{number}"] = {ids[document]: score for document, score in zip(chosen, scores, strict=True)}
        qrels[f"q{number}"] = {ids[document]: 1 for document in chosen[:: max(1, candidates // JUDGED)]}
    return run, qrels


def ours(run, qrels) -> float:
    """Ours, which calls ir-measures."""
    from rerank_plugin.evaluation import evaluate

    return evaluate(run, qrels, MEASURES).means["nDCG@10"]


def ir_measures(run, qrels) -> float:
    """ir-measures alone."""
    import ir_measures

    metrics = ir_measures.iter_calc([ir_measures.parse_measure(name) for name in MEASURES], qrels, run)
    values = [metric.value for metric in metrics if str(metric.measure) == "nDCG@10"]
    return sum(values) / len(values)


def pytrec_eval(run, qrels) -> float:
    """pytrec_eval, without RR@10 and Judged@10, so it has less work than the others."""
    import pytrec_eval

    results = pytrec_eval.RelevanceEvaluator(qrels, TREC_MEASURES).evaluate(run)
    return sum(values["ndcg_cut_10"] for values in results.values()) / len(results)


SYSTEMS = {"rerank_plugin": ours, "ir-measures": ir_measures, "pytrec_eval (four measures)": pytrec_eval}


def measure_one(name: str, queries: int, candidates: int) -> None:
    """Measure one system in this process, and print the figures as JSON."""
    run, qrels = make(queries, candidates)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    value = SYSTEMS[name](run, qrels)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "megabytes": after / 1024, "run": before / 1024, "nDCG@10": value}))


def main() -> None:
    """Start the processes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=argparse.SUPPRESS)  # used by the subprocess
    options = parser.parse_args()
    if options.only:
        measure_one(options.only, options.queries, options.candidates)
        return
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for _ in range(options.rounds):
        for name in SYSTEMS:
            sizes = ["--queries", str(options.queries), "--candidates", str(options.candidates)]
            done = subprocess.run(
                [sys.executable, __file__, *sizes, "--only", name], capture_output=True, text=True, check=True
            )
            figures[name].append(json.loads(done.stdout))
    base = median(row["seconds"] for row in figures["rerank_plugin"])
    print(f"{options.queries} queries x {options.candidates} candidates, {options.rounds} rounds\n")
    print("| system | seconds | times ours | MB, run included | nDCG@10 |\n| --- | ---: | ---: | ---: | ---: |")
    for name, rows in figures.items():
        seconds = median(row["seconds"] for row in rows)
        memory = max(row["megabytes"] for row in rows)
        print(f"| {name} | {seconds:.1f} | {seconds / base:.2f} | {memory:.0f} | {rows[0]['nDCG@10']:.6f} |")


if __name__ == "__main__":
    main()
