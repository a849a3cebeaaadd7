"""
Does the second stage help on my questions? Measure, and take it only if it does.

The command does more (costs, a report, a sweep over settings):
`rerank eval sample_corpus --pipeline bm25 --pipeline bm25_rerank`.
"""

from pathlib import Path

from rerank_plugin import load_pipeline
from rerank_plugin.evaluation import compare
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.indexing import index_paths

SAMPLE_CORPUS = Path(__file__).parent.parent / "sample_corpus"
MEASURE = "nDCG@10"


def main() -> None:
    index = Path("sample_index")
    index_paths([SAMPLE_CORPUS], index, pipeline="indexing_keyword")
    queries, qrels = open_collection(SAMPLE_CORPUS).judged(lang="en", limit=12)  # all of them, if you have the time

    # One run has the output of both stages.
    pipeline = load_pipeline("bm25_rerank", index=index)
    before, after = {}, {}
    for name, query in queries.items():
        inputs = {"bm25_retriever": {"query": query.text, "top_k": 20}, "ranker": {"query": query.text}}
        result = pipeline.run(inputs, include_outputs_from={"bm25_retriever", "ranker"})
        before[name], after[name] = result["bm25_retriever"]["documents"], result["ranker"]["documents"]

    comparison = compare({"bm25": before, "bm25_rerank": after}, qrels, [MEASURE])
    gain = comparison.between("bm25", "bm25_rerank", MEASURE)
    low, high = gain.interval
    print(f"{MEASURE} {gain.mean:+.3f} ({low:+.3f} to {high:+.3f}), {gain.wins} better, {gain.losses} worse")
    print(f"take {'bm25_rerank' if gain.is_significant and gain.mean > 0 else 'bm25'}")


if __name__ == "__main__":
    main()
