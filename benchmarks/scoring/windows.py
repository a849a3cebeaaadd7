"""
Windows against truncation, on long documents with the answer anywhere.

    python benchmarks/scoring/windows.py BEIR_FOLDER [--split test] [--queries 60] [--candidates 20] [--model minilm-l6-en]

Each document consists of passages of the collection: BM25's candidate at a random position among passages that are not a
candidate of any query, 1,500 to 3,000 tokens in total. Prints nDCG@10 of each aggregation, and the time per query.
"""

import argparse
import random
import time
from itertools import islice
from pathlib import Path
from statistics import median

from haystack import Document

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.evaluation.bench.material import judged_calls
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.measures import NDCG, evaluate

AGGREGATIONS = ("truncate", "first", "max", "mean_top_k")
TOKENS = (1500, 3000)
TOKENS_PER_WORD = 1.35


def long_document(document: Document, filler: list[str], rng: random.Random) -> Document:
    """Put other passages before and after a document until it has a random length."""
    length = rng.randint(*TOKENS) / TOKENS_PER_WORD
    texts: list[str] = []
    while sum(len(text.split()) for text in [*texts, document.content or ""]) < length:
        texts.append(rng.choice(filler))
    texts.insert(rng.randint(0, len(texts)), document.content or "")
    return Document(id=document.id, content="\n".join(texts))


def main() -> None:
    """Build documents, rank, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--model", default="minilm-l6-en")
    options = parser.parse_args()
    rng = random.Random(13)
    collection = BeirDataset(options.dataset)
    queries, qrels = open_collection(options.dataset, split=options.split).judged()
    chosen = dict(islice(queries.items(), options.queries))
    calls = judged_calls(collection, {id_: q.text for id_, q in chosen.items()}, candidates=options.candidates)
    used = {document.id for _, documents in calls.values() for document in documents}
    filler = [document.text for document in collection.documents() if document.id not in used]
    calls = {id_: (query, [long_document(d, filler, rng) for d in documents]) for id_, (query, documents) in calls.items()}
    print(f"{len(calls)} queries, {options.candidates} candidates, filler of {len(filler)} passages, model {options.model}")
    for aggregation in AGGREGATIONS:
        ranker = CrossEncoderRanker(model=options.model, window_aggregation=aggregation, top_k=options.candidates)
        ranker.warm_up()
        run, times = {}, []
        for id_, (query, documents) in calls.items():
            began = time.perf_counter()
            ranked = ranker.run(query=query, documents=documents)["documents"]
            times.append((time.perf_counter() - began) * 1000)
            run[id_] = {document.id: 1.0 / rank for rank, document in enumerate(ranked, start=1)}
        quality = evaluate(run, {id_: qrels[id_] for id_ in calls}, [NDCG]).means[NDCG]
        print(f"{aggregation}: nDCG@10 {quality:.3f}, median {median(times):.0f} ms per query", flush=True)


if __name__ == "__main__":
    main()
