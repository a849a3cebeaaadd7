"""
Windows beside truncation, on long documents whose answer stands anywhere.

    python benchmarks/scoring/windows.py BEIR_FOLDER [--split test] [--queries 60] [--candidates 20] [--model minilm-l6-en]

Each document is made of passages of the collection: BM25's candidate at a random place among passages that no query's
candidates hold, 1,500 to 3,000 tokens together. Prints nDCG@10 of each way of reading them, and the time of a query.
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

WAYS = ("truncate", "first", "max", "mean_top_k")
TOKENS = (1500, 3000)
TOKENS_A_WORD = 1.35


def long_document(document: Document, filler: list[str], draw: random.Random) -> Document:
    """Put other passages before and behind a document until it has the length that was drawn."""
    length = draw.randint(*TOKENS) / TOKENS_A_WORD
    parts: list[str] = []
    while sum(len(part.split()) for part in [*parts, document.content or ""]) < length:
        parts.append(draw.choice(filler))
    parts.insert(draw.randint(0, len(parts)), document.content or "")
    return Document(id=document.id, content="\n".join(parts))


def main() -> None:
    """Build, rank, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--model", default="minilm-l6-en")
    options = parser.parse_args()
    draw = random.Random(13)
    collection = BeirDataset(options.dataset)
    queries, qrels = open_collection(options.dataset, split=options.split).judged()
    chosen = dict(islice(queries.items(), options.queries))
    calls = judged_calls(collection, {id_: q.text for id_, q in chosen.items()}, candidates=options.candidates)
    used = {document.id for _, documents in calls.values() for document in documents}
    filler = [document.text for document in collection.documents() if document.id not in used]
    calls = {id_: (query, [long_document(d, filler, draw) for d in documents]) for id_, (query, documents) in calls.items()}
    print(f"{len(calls)} queries, {options.candidates} candidates, filler of {len(filler)} passages, model {options.model}")
    for way in WAYS:
        ranker = CrossEncoderRanker(model=options.model, window_aggregation=way, top_k=options.candidates)
        ranker.warm_up()
        run, times = {}, []
        for id_, (query, documents) in calls.items():
            began = time.perf_counter()
            ranked = ranker.run(query=query, documents=documents)["documents"]
            times.append((time.perf_counter() - began) * 1000)
            run[id_] = {document.id: 1.0 / rank for rank, document in enumerate(ranked, start=1)}
        found = evaluate(run, {id_: qrels[id_] for id_ in calls}, [NDCG]).means[NDCG]
        print(f"{way}: nDCG@10 {found:.3f}, median {median(times):.0f} ms a query", flush=True)


if __name__ == "__main__":
    main()
