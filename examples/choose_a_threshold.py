"""
Return nothing rather than a wrong passage: choose a threshold on judged queries.

Scores are probabilities, calibrated on other data than yours. So look at what they mean on your own queries, and choose the
threshold there. `rerank calibrate` fits the probabilities themselves, if you have a hundred judged queries or more.
"""

from pathlib import Path

from rerank_plugin import BM25Retriever, CrossEncoderRanker, HybridDocumentStore
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.indexing import index_paths

SAMPLE_CORPUS = Path(__file__).parent.parent / "sample_corpus"
PRECISION = 0.8  # at least four of five passages that are shown shall be relevant


def lowest_threshold(scored: list[tuple[float, bool]], precision: float) -> float:
    """Return the lowest score above which at least this share of the passages is relevant."""
    hits, threshold = 0, 1.0
    for count, (score, relevant) in enumerate(sorted(scored, reverse=True), start=1):
        hits += relevant
        if hits / count >= precision:
            threshold = score
    return threshold


def main() -> None:
    index = Path("sample_index")
    index_paths([SAMPLE_CORPUS], index, pipeline="indexing_keyword")
    queries, qrels = open_collection(SAMPLE_CORPUS).judged(lang="en", limit=12)  # all of them, if you have the time

    with HybridDocumentStore(index) as store:
        retriever = BM25Retriever(store, top_k=20)
        ranker = CrossEncoderRanker(top_k=5, meta_fields_to_embed=["title"])
        scored = []
        for name, query in queries.items():
            candidates = retriever.run(query=query.text)["documents"]
            documents = ranker.run(query=query.text, documents=candidates)["documents"]
            scored += [(document.score, qrels[name].get(document.meta["doc_id"], 0) > 0) for document in documents]
        threshold = lowest_threshold(scored, PRECISION)
        print(f"threshold {threshold:.2f}")

        for query in ("how do I descale a coffee machine", "who won the football match yesterday"):
            candidates = retriever.run(query=query)["documents"]
            found = ranker.run(query=query, documents=candidates, score_threshold=threshold)["documents"]
            print(f"{query}: {[document.meta['title'] for document in found]}")


if __name__ == "__main__":
    main()
