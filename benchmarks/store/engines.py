"""
The same evaluation over several databases: an index of ours, Qdrant in a folder, Milvus Lite in a file, PostgreSQL with pgvector.

    python benchmarks/store/engines.py BEIR_FOLDER [--split train] [--queries 100] [--work FOLDER] [--output FILE.json]

The corpus is embedded once, into an index of ours; `copy_documents` brings it into the other databases. Needs the extras `stores`,
`eval` and `offline`. Every database compares each query with every vector, so the figures should be equal; the ranker gets the
candidates of each database, and, to see that it does not depend on where they come from, those that our index found, read from each.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from databases import REAL, Database, make_database, running_postgres, set_variables  # noqa: E402

DIMENSION = 384
OURS = "index of ours"


def fill(folder: Path, corpus: Path, names: list[str], postgres: str) -> dict[str, Database]:
    """Index the corpus, and copy the index into the databases."""
    from rerank_plugin.indexing import copy_documents, index_paths

    report = index_paths([corpus], folder / "index", progress=lambda done, total: note(f"indexed {done:,} of {total:,}"))
    assert report.failed == [], report.failed
    engines = {}
    for name in names:
        engines[name] = make_database(name, folder / name, dimension=DIMENSION, postgres=postgres)
        set_variables(engines[name])
        copied = copy_documents(folder / "index", engines[name].pipeline(engines[name].indexing))
        note(f"copied {copied.copied:,} to {copied.target}")
    return engines


def shortened(corpus: Path, file: Path, judged: set[str], count: int) -> Path:
    """Write a part of a corpus."""
    lines = corpus.read_bytes().splitlines()
    kept = [line for line in lines if json.loads(line)["_id"] in judged]
    others = [line for line in lines if json.loads(line)["_id"] not in judged]
    file.write_bytes(b"\n".join(kept + others[: count - len(kept)]))
    return file


def note(text: str) -> None:
    """Say how far it has got."""
    print(text, file=sys.stderr, flush=True)


def retrievers(folder: Path, engines: dict[str, Database]) -> dict[str, object]:
    """Return the dense retriever of each database, and of our index."""
    from rerank_plugin.pipelines import load_pipeline

    loaded = {OURS: load_pipeline("dense_rerank", index=folder / "index")}
    loaded |= {name: load_pipeline(engine.pipeline(engine.searching)) for name, engine in engines.items()}
    return {name: pipeline.get_component("embedding_retriever") for name, pipeline in loaded.items()}


def main() -> None:
    """Fill the databases, evaluate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--documents", type=int, help="only so many documents: those that are judged, and the first others")
    parser.add_argument("--candidates", type=int, default=50, help="documents that the ranker gets")
    parser.add_argument("--engine", action="append", choices=REAL, help="only this database; repeatable")
    parser.add_argument("--work", type=Path, help="folder for the databases, which can be used again")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with running_postgres() as postgres:
            rows = measure(folder, options, postgres)
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(table(rows))


def measure(folder: Path, options: argparse.Namespace, postgres: str) -> dict[str, dict[str, float]]:
    """Return the figures of each database."""
    from rerank_plugin import CrossEncoderRanker
    from rerank_plugin.evaluation.collection import open_collection
    from rerank_plugin.evaluation.measures import evaluate
    from rerank_plugin.pipelines import load_pipeline

    collection = open_collection(options.collection, split=options.split)
    queries, qrels = collection.judged(limit=options.queries)
    corpus = collection.dataset.corpus_file
    if options.documents:
        corpus = shortened(
            corpus, folder / "corpus.jsonl", {key for grades in qrels.values() for key in grades}, options.documents
        )
    engines = fill(folder, corpus, options.engine or list(REAL), postgres)
    embedder = load_pipeline("dense_rerank", index=folder / "index").get_component("text_embedder")
    embedder.warm_up()
    vectors = {key: embedder.run(text=query.text)["embedding"] for key, query in queries.items()}
    ranker = CrossEncoderRanker(top_k=options.candidates, meta_fields_to_embed=["title"], score_cache="memory")
    rows, reference = {}, {}
    for name, retriever in retrievers(folder, engines).items():
        began = time.perf_counter()
        found = {key: retriever.run(query_embedding=vector, top_k=100)["documents"] for key, vector in vectors.items()}
        milliseconds = (time.perf_counter() - began) * 1000 / len(vectors)
        reference = reference or found
        note(f"{name}: searched")
        ranked = {
            key: ranker.run(query=queries[key].text, documents=documents[: options.candidates])["documents"]
            for key, documents in found.items()
        }
        cut = {key: documents[: options.candidates] for key, documents in reference.items()}
        same = equal_candidates(ranker, queries, cut, {} if name == OURS else texts_of(retriever))
        dense, second = (evaluate(run_of(run), qrels, ["nDCG@10", "R@100"]).means for run in (found, ranked))
        agree = [len({d.id for d in found[key][:10]} & {d.id for d in reference[key][:10]}) / 10 for key in found]
        rows[name] = {
            "dense nDCG@10": dense["nDCG@10"],
            "dense R@100": dense["R@100"],
            "first 10 in common": sum(agree) / len(agree),
            "reranked nDCG@10": second["nDCG@10"],
            "reranked nDCG@10, our candidates": evaluate(run_of(same), qrels, ["nDCG@10"]).means["nDCG@10"],
            "ms per query": milliseconds,
        }
        note(f"{name}: {rows[name]}")
    return rows


def texts_of(retriever: object) -> dict[str, object]:
    """Return all documents that the database of a retriever holds, by id; a second client could not open Qdrant's folder."""
    store = getattr(retriever, "document_store", None) or retriever._document_store
    return {document.id: document for document in store.filter_documents()}


def equal_candidates(ranker: object, queries: dict, reference: dict, texts: dict[str, object]) -> dict:
    """Rank the candidates that our index found, with the documents of another database; of our own where there are none."""
    return {
        key: ranker.run(query=queries[key].text, documents=[texts[d.id] for d in documents] if texts else documents)[
            "documents"
        ]
        for key, documents in reference.items()
    }


def run_of(found: dict) -> dict[str, dict[str, float]]:
    """Return a run by the ids of the collection, ordered as the documents were."""
    return {
        key: {d.meta["doc_id"]: float(len(documents) - rank) for rank, d in enumerate(documents)}
        for key, documents in found.items()
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return the figures as Markdown."""
    columns = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{row[column]:.4g}" for column in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
