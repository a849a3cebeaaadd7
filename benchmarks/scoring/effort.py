"""
Time against quality: the stock ranker, and `CrossEncoderRanker` with each effort, on the same candidates in turn.

    python benchmarks/scoring/effort.py FOLDER:SPLIT... [--model me5-l12-enru] [--queries 40] [--candidates 100] [--setting adaptive_depth=0.75]

The candidates are BM25's. For each collection: the median time of a call, how many times as fast as the stock ranker that is, how many candidates were
scored with all layers, nDCG@10, and its difference from scoring everything. `--calibration` takes the place of the model's own; `--no-stock` leaves the
stock ranker out, where only the quality is wanted.
"""

import argparse
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from haystack.utils import ComponentDevice
from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.evaluation.bench.material import judged_calls
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.scoring.effort import EFFORTS
from rerank_plugin.scoring.loading.spec import resolve_model

TOP_K = 10


def make_systems(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rankers by name, loaded; the stock ranker first."""
    common = {"model": options.model, "top_k": TOP_K, "scale_score": False, "calibration": options.calibration}
    systems: dict[str, Any] = {effort: CrossEncoderRanker(**common, effort=effort) for effort in EFFORTS}
    for setting in options.setting:
        name, _, value = setting.partition("=")
        systems[setting] = CrossEncoderRanker(**common, **{name: float(value) if "." in value else int(value)})
    if not options.no_stock:
        stock = SentenceTransformersSimilarityRanker(
            model=resolve_model(options.model), top_k=TOP_K, device=ComponentDevice.from_str("cpu"), scale_score=False
        )
        systems = {"stock": stock, **systems}
    for system in systems.values():
        system.warm_up()
    return systems


def measure(folder: Path, split: str, systems: dict[str, Any], options: argparse.Namespace) -> None:
    """Measure all systems on a collection, and print a table."""
    queries, qrels = open_collection(folder, split=split).judged()
    chosen = {id_: query.text for id_, query in islice(queries.items(), options.queries)}
    calls = judged_calls(BeirDataset(folder), chosen, candidates=options.candidates)
    for system in systems.values():
        for query, documents in islice(calls.values(), 2):
            system.run(query=query, documents=documents)
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    scored: dict[str, list[int]] = {name: [] for name in systems}
    for id_, (query, documents) in calls.items():
        for name, system in systems.items():
            start = time.perf_counter()
            output = system.run(query=query, documents=documents)
            seconds[name].append(time.perf_counter() - start)
            runs[name][id_] = {d.id: len(output["documents"]) - rank for rank, d in enumerate(output["documents"])}
            scored[name].append(output.get("status", {}).get("scored", len(documents)))
    judged = {id_: qrels[id_] for id_ in calls}
    quality = {name: evaluate(run, judged, [NDCG]).means[NDCG] for name, run in runs.items()}
    first = next(iter(systems))
    print(f"\n{folder.name}, {split}: {len(calls)} queries, {options.candidates} candidates, model {options.model}\n")
    print(f"| effort | scored | median ms | best ms | times {first} | nDCG@10 | beside exact |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in systems:
        ratio = median(seconds[first]) / median(seconds[name])
        print(
            f"| {name} | {np.mean(scored[name]):.0f} | {1000 * median(seconds[name]):.0f} | {1000 * min(seconds[name]):.0f} | "
            f"{ratio:.1f} | {quality[name]:.4f} | {quality[name] - quality['exact']:+.4f} |",
            flush=True,
        )


def main() -> None:
    """Measure every collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="+", metavar="FOLDER:SPLIT")
    parser.add_argument("--model", default="me5-l12-enru")
    parser.add_argument("--calibration", default="auto")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--setting", action="append", default=[], help="another ranker, such as adaptive_depth=0.75")
    parser.add_argument("--no-stock", action="store_true")
    options = parser.parse_args()
    systems = make_systems(options)
    for collection in options.collections:
        folder, _, split = collection.rpartition(":")
        measure(Path(folder), split, systems, options)


if __name__ == "__main__":
    main()
