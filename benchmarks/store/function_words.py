"""
What BM25 finds when the function words of a query count, and when they do not.

    python benchmarks/store/function_words.py FOLDER_OF_COLLECTIONS [--split dev] [--queries 400] [--only NAME...]

nDCG@10 and recall of the first 100, on each collection's first judged queries, and on how many of them each way is better.
"""

import argparse
from pathlib import Path

from haystack import Document

from rerank_plugin import HybridDocumentStore
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.evaluation.measures import Evaluation, evaluate
from rerank_plugin.store.keywords import analysis

NDCG, RECALL = "nDCG@10", "R@100"
FUNCTION_WORDS = dict(analysis.STOP_WORDS)
AT_ONCE = 5000


def measure(dataset: BeirDataset, split: str, most: int, language: str, *, counted: bool) -> Evaluation:
    """Index a collection and ask its queries."""
    analysis.STOP_WORDS.clear()
    if not counted:
        analysis.STOP_WORDS.update(FUNCTION_WORDS)
    judged = {id_: grades for id_, grades in dataset.qrels(split).items() if any(grade > 0 for grade in grades.values())}
    chosen = dict(list(judged.items())[:most])
    queries = dataset.queries()
    documents = [Document(id=each.id, content=each.full_text) for each in dataset.documents() if each.full_text.strip()]
    with HybridDocumentStore(language=language) as store:
        for start in range(0, len(documents), AT_ONCE):
            store.write_documents(documents[start : start + AT_ONCE])
        run = {
            id_: {found.id: found.score or 0.0 for found in store.bm25_retrieval(queries[id_].text, top_k=100)}
            for id_ in chosen
        }
    return evaluate(run, chosen, [NDCG, RECALL])


def main() -> None:
    """Measure each collection both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--only", nargs="+", help="only these collections")
    options = parser.parse_args()
    names = options.only or sorted(file.parents[1].name for file in options.collections.glob(f"*/qrels/{options.split}.tsv"))
    print("| collection | queries | all words: nDCG@10, R@100 | without function words | better, worse |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        dataset, language = BeirDataset(options.collections / name), "ru" if name.endswith("_ru") else "en"
        before, after = (
            measure(dataset, options.split, options.queries, language, counted=counted) for counted in (True, False)
        )
        old, new = before.per_query[NDCG], after.per_query[NDCG]
        figures = " | ".join(f"{each.means[NDCG]:.3f}, {each.means[RECALL]:.3f}" for each in (before, after))
        better, worse = sum(new[id_] > old[id_] for id_ in old), sum(new[id_] < old[id_] for id_ in old)
        print(f"| {name} | {len(old)} | {figures} | {better}, {worse} |", flush=True)


if __name__ == "__main__":
    main()
