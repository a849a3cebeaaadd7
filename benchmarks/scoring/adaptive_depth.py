"""
Time and quality of adaptive depth against the stock ranker, interleaved, on BM25's candidates.

    python benchmarks/scoring/adaptive_depth.py BEIR_FOLDER SPLIT [--fit 120] [--measure 40] [--confidence 0.9 0.8 0.75 0.7]

The depth is fitted on the first judged queries and measured on the last ones.
"""

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
from haystack.utils import ComponentDevice
from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker
from less_work import CANDIDATES, TOP_K, gather

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.evaluation.bench.material import judged_calls
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.depth import fit_depth
from rerank_plugin.scoring.loading.spec import resolve_model


def main() -> None:
    """Fit, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("split")
    parser.add_argument("--model", default="minilm-l6-en")
    parser.add_argument("--fit", type=int, default=120)
    parser.add_argument("--measure", type=int, default=40)
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.9, 0.8, 0.75, 0.7])
    options = parser.parse_args()

    queries, qrels = open_collection(options.collection, split=options.split).judged()
    last = {id_: query.text for id_, query in islice(reversed(queries.items()), options.measure)}
    calls = judged_calls(BeirDataset(options.collection), last, candidates=CANDIDATES)

    everything = CrossEncoderRanker(model=options.model, top_k=TOP_K, scale_score=False)
    fitted, _ = gather(options.collection, options.split, options.fit, everything)
    depth = fit_depth([query.logits for query in fitted], [query.first_scores for query in fitted], top_k=TOP_K)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "calibration.json"
        Calibration(depth=depth).save(file)
        systems = {
            "stock": SentenceTransformersSimilarityRanker(
                model=resolve_model(options.model), top_k=TOP_K, device=ComponentDevice.from_str("cpu"), scale_score=False
            ),
            "all": everything,
            **{
                f"adaptive {confidence}": CrossEncoderRanker(
                    model=options.model, top_k=TOP_K, scale_score=False, calibration=file, adaptive_depth=confidence
                )
                for confidence in options.confidence
            },
        }
        runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
        seconds: dict[str, list[float]] = {name: [] for name in systems}
        scored: dict[str, list[int]] = {name: [] for name in systems}
        for system in systems.values():
            system.warm_up()
            query, documents = next(iter(calls.values()))
            system.run(query=query, documents=documents)
        for id_, (query, documents) in calls.items():
            for name, system in systems.items():
                start = time.perf_counter()
                output = system.run(query=query, documents=documents)
                seconds[name].append(time.perf_counter() - start)
                runs[name][id_] = {d.id: len(output["documents"]) - rank for rank, d in enumerate(output["documents"])}
                scored[name].append(output.get("status", {}).get("scored", len(documents)))
    judged = {id_: qrels[id_] for id_ in runs["stock"]}
    print(f"{len(fitted)} queries fitted, {len(judged)} measured, {CANDIDATES} candidates, model {options.model}")
    print("| system | scored | median ms | times stock | nDCG@10 |\n| --- | ---: | ---: | ---: | ---: |")
    for name in systems:
        quality, ratio = (
            evaluate(runs[name], judged, [NDCG]).means[NDCG],
            median(seconds["stock"]) / median(seconds[name]),
        )
        print(f"| {name} | {np.mean(scored[name]):.0f} | {1000 * median(seconds[name]):.0f} | {ratio:.1f} | {quality:.4f} |")


if __name__ == "__main__":
    main()
