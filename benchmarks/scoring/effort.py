"""
Time against quality: the stock ranker, and `CrossEncoderRanker` with each effort, on the same candidates in turn.

    python benchmarks/scoring/effort.py FOLDER:SPLIT... [--model me5-l12-enru]... [--queries 40] [--skip 0] [--candidates 100] [--gain 0.9]...
        [--setting adaptive_depth=0.75]... [--plot FILE]

The candidates are BM25's. For each model and collection: the median time of a call, how many times as fast as the stock ranker that is, how many
candidates were scored with all layers, nDCG@10, and its difference from scoring everything. `--gain` adds points between the efforts: the share of the
full result's gain that is kept. `--calibration` takes the place of the model's own; `--no-stock` leaves the stock ranker out, where only the quality is
wanted. `--plot` draws the curves.
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
from rerank_plugin.scoring.effort import EFFORTS, Effort
from rerank_plugin.scoring.loading.spec import resolve_model

TOP_K = 10
COLORS = ("#1a73e8", "#e8710a", "#188038")
MARKERS = {"fast": "v", "balanced": "o", "exact": "s", "stock": "X"}

# By model and collection, for each system: the median time of a call in seconds, and nDCG@10.
Points = dict[str, dict[str, dict[str, tuple[float, float]]]]


def make_systems(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the rankers by name, loaded; the stock ranker first."""
    common = {"model": model, "top_k": TOP_K, "scale_score": False, "calibration": options.calibration}
    systems: dict[str, Any] = {effort: CrossEncoderRanker(**common, effort=effort) for effort in EFFORTS}
    for setting in options.setting:
        name, _, value = setting.partition("=")
        systems[setting] = CrossEncoderRanker(**common, **{name: float(value) if "." in value else int(value)})
    if not options.no_stock:
        stock = SentenceTransformersSimilarityRanker(
            model=resolve_model(model), top_k=TOP_K, device=ComponentDevice.from_str("cpu"), scale_score=False
        )
        systems = {"stock": stock, **systems}
    for system in systems.values():
        system.warm_up()
    return systems


def measure(
    model: str, folder: Path, split: str, systems: dict[str, Any], options: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Measure all systems on a collection, print a table, and return time and quality."""
    queries, qrels = open_collection(folder, split=split).judged()
    chosen = {id_: query.text for id_, query in islice(queries.items(), options.skip, options.skip + options.queries)}
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
    print(f"\n{folder.name}, {split}: {len(calls)} queries, {options.candidates} candidates, model {model}\n")
    print(f"| effort | scored | median ms | best ms | times {first} | nDCG@10 | beside exact |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in systems:
        ratio = median(seconds[first]) / median(seconds[name])
        print(
            f"| {name} | {np.mean(scored[name]):.0f} | {1000 * median(seconds[name]):.0f} | {1000 * min(seconds[name]):.0f} | "
            f"{ratio:.1f} | {quality[name]:.4f} | {quality[name] - quality['exact']:+.4f} |",
            flush=True,
        )
    return {name: (median(seconds[name]), quality[name]) for name in systems}


def plot(points: Points, file: Path) -> None:
    """Draw a panel for each collection, with a curve for each model."""
    from matplotlib.figure import Figure

    collections = list(next(iter(points.values())))
    figure = Figure(figsize=(3.1 * len(collections), 3.4), layout="constrained")
    panels = figure.subplots(1, len(collections), squeeze=False)[0]
    for panel, collection in zip(panels, collections, strict=True):
        for number, (model, by_collection) in enumerate(points.items()):
            found, color = by_collection[collection], COLORS[number]
            curve = sorted(found[name] for name in EFFORTS)
            panel.plot(*zip(*curve, strict=True), color=color, linewidth=1.2, label=Path(model).name)
            for name, marker in MARKERS.items():
                if name in found:
                    panel.scatter(*found[name], marker=marker, color=color, s=36, zorder=3)
        for name, marker in MARKERS.items():
            if any(name in by_collection[collection] for by_collection in points.values()):
                panel.scatter([], [], marker=marker, color="#5f6368", s=36, label=name)
        panel.set_xlim(left=0)
        panel.set_title(collection, fontsize=10)
        panel.set_xlabel("seconds a query, median")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, which="both")
    panels[0].set_ylabel(NDCG)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(MARKERS) + len(COLORS), frameon=False, fontsize=8)
    figure.savefig(file, dpi=130)


def main() -> None:
    """Measure every collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="+", metavar="FOLDER:SPLIT")
    parser.add_argument("--model", action="append", help="default: me5-l12-enru")
    parser.add_argument("--calibration", default="auto")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument(
        "--skip", type=int, default=0, help="leave out the first queries, such as those that the rule was fitted on"
    )
    parser.add_argument("--gain", type=float, action="append", default=[], help="another point of the curve, such as 0.9")
    parser.add_argument("--plot", type=Path, help="picture to write")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--setting", action="append", default=[], help="another ranker, such as adaptive_depth=0.75")
    parser.add_argument("--no-stock", action="store_true")
    options = parser.parse_args()
    for gain in options.gain:
        EFFORTS[f"gain {gain}"] = Effort(gain=gain, documents=gain)
    points: Points = {}
    for model in options.model or ["me5-l12-enru"]:
        systems = make_systems(model, options)
        for collection in options.collections:
            folder, _, split = collection.rpartition(":")
            found = measure(model, Path(folder), split, systems, options)
            points.setdefault(model, {})[f"{Path(folder).name} ({split})"] = found
    if options.plot is not None:
        plot(points, options.plot)


if __name__ == "__main__":
    main()
