"""
Compare CrossEncoderRanker with Haystack's SentenceTransformersSimilarityRanker: same model, same candidates, one run.

    python benchmarks/parity.py BEIR_FOLDER [--split test] [--queries 200] [--candidates 50] [--model minilm-l6-en]

Prints how many rankings are identical, the largest difference of a logit between OpenVINO and torch, and the median time per
query.
"""

import argparse
import time
from pathlib import Path
from statistics import median

from haystack import Document
from haystack.utils import ComponentDevice
from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker

from rerank_plugin import CrossEncoderRanker, HybridDocumentStore
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.scoring.loading.spec import resolve_model


def candidates_by_query(dataset: BeirDataset, split: str, queries: int, candidates: int) -> dict[str, list[Document]]:
    """Return BM25's candidates for the first queries of a split."""
    store = HybridDocumentStore()
    store.write_documents([Document(id=d.id, content=d.text, meta={"title": d.title}) for d in dataset.documents()])
    chosen = list(dataset.queries(split).values())[:queries]
    return {query.text: store.bm25_retrieval(query.text, top_k=candidates) for query in chosen}


def main() -> None:
    """Rank, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--model", default="minilm-l6-en")
    options = parser.parse_args()
    candidates = candidates_by_query(BeirDataset(options.dataset), options.split, options.queries, options.candidates)
    pairs = sum(map(len, candidates.values()))

    common = {
        "model": resolve_model(options.model),
        "device": ComponentDevice.from_str("cpu"),
        "top_k": options.candidates,
        "meta_fields_to_embed": ["title"],
        "scale_score": False,
    }
    rankers = {
        "stock": SentenceTransformersSimilarityRanker(**common),
        "torch": CrossEncoderRanker(**common, backend="torch"),
        "openvino": CrossEncoderRanker(**common, backend="openvino", precision="fp32"),
    }
    for ranker in rankers.values():
        ranker.warm_up()
    same = {"torch": 0, "openvino": 0}
    largest = 0.0
    times: dict[str, list[float]] = {name: [] for name in rankers}
    for query, documents in candidates.items():
        ranked = {}
        for name, ranker in rankers.items():  # interleaved, so that changes in the machine's speed affect all alike
            start = time.perf_counter()
            ranked[name] = ranker.run(query=query, documents=documents)["documents"]
            times[name].append(time.perf_counter() - start)
        order = [document.id for document in ranked["stock"]]
        for name in same:
            same[name] += [document.id for document in ranked[name]] == order
        logits = {document.id: document.score for document in ranked["torch"]}
        largest = max([largest, *(abs(logits[document.id] - document.score) for document in ranked["openvino"])])

    print(f"{len(candidates)} queries, {pairs} pairs, model {options.model}")
    for name, count in same.items():
        print(f"same ranking as the stock ranker, {name}: {count} of {len(candidates)}")
    print(f"largest difference of a logit, openvino to torch: {largest:.2e}")
    for name, values in times.items():
        ratio = median(times["stock"]) / median(values)
        print(f"median time of a query, {name}: {median(values) * 1000:.0f} ms ({ratio:.2f}x the stock ranker's speed)")


if __name__ == "__main__":
    main()
