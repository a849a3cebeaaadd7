"""
Candidate lists for continued training, on a CPU: judged queries with hard negatives of two first stages.

    python benchmarks/bundled_model/judged_lists.py FOLDER_OF_COLLECTIONS WORK --e5 FOLDER [--only NAME...]

For each collection the file WORK/lists/NAME.jsonl, a list of eight passages on each line: a relevant one, three of BM25's top ten, two
of the bi-encoder's top ten, one of the next forty of each; where no bi-encoder is used, BM25's take their places. A passage that
repeats most of a relevant one is left out, since it would be a false negative. So are queries that have the same words as one of a dev
or test split of any collection. Files that are there are kept, so an interrupted run continues. `--most` limits the queries of each collection, for machines that cannot read them all.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from check_material import MEASURED, normalised
from encoders import Encoder, vectors
from haystack import Document

from rerank_plugin import HybridDocumentStore
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.files import replace_file
from rerank_plugin.pipelines.embedding_models import PACKAGED_MODEL, packaged_model
from rerank_plugin.training.mining.guards import is_near_duplicate

LIST_SIZE = 8
DEPTH = 50
TOP = 10
CHARACTERS = 1400  # of a passage; more than the student reads
DENSE_TOKENS = 96
NEAR_DUPLICATES = 0.7


@dataclass(frozen=True)
class Source:
    """
    How much of a collection is used.

    :param splits: Splits whose judgements are used, in order of preference.
    :param queries: Maximum number of queries.
    :param repeats: Lists of each query, with other negatives.
    :param documents: Maximum number of passages; those that are judged are always kept.
    :param dense: Maximum number of passages that the bi-encoder reads; 0: it is not used.
    """

    splits: tuple[str, ...] = ("train",)
    queries: int = 10_000
    repeats: int = 1
    documents: int = 20_000
    dense: int = 0


# What is most wanted first, so that a training can start while the others are searched.
SOURCES = {
    "techfaq_ru": Source(("train", "train_howto"), repeats=2, dense=8_000),
    "techfaq_en": Source(("train", "train_howto", "train_pseudo"), queries=10_700, repeats=2, dense=16_000),
    "tydiqa_en_train": Source(dense=4_000),
    "fm2_claims_en": Source(repeats=2, dense=11_000),
    "scitldr_en": Source(dense=4_000),
    "perspectrum": Source(repeats=4, dense=10_000),
    "muserc_ru": Source(dense=1_000),
    "danetqa_ru": Source(repeats=2, dense=3_000),
    "rumeddanet_ru": Source(repeats=2, dense=3_000),
    "nq_qed_clapnq": Source(dense=7_500),
    "covidqa_en": Source(repeats=2, dense=3_000),
    "squad11_train": Source(queries=4_000, documents=6_000, dense=6_000),
    "medquad": Source(queries=1_500, documents=6_000),
    "covid_faq_en": Source(repeats=2, dense=400),
    "ms_alchemy_ru": Source(queries=1_000),
    "pubmedqa_en": Source(queries=300),
}


def language_of(name: str) -> str:
    """Return the language of a collection."""
    return "ru" if name.endswith("_ru") else "en"


def encoder_of(lang: str, e5: str) -> Encoder:
    """Return the bi-encoder of a language."""
    return Encoder(e5, "query: ", "passage: ") if lang == "ru" else Encoder(str(packaged_model(PACKAGED_MODEL)))


def choose(dataset: BeirDataset, source: Source, rng: random.Random) -> tuple[dict[str, set[str]], dict[str, str]]:
    """
    Choose queries and passages of a collection.

    :param dataset: The collection.
    :param source: How much of it.
    :param rng: The random number generator.
    :returns: The relevant passages of each query, and the text of each passage by id.
    """
    relevant: dict[str, set[str]] = {}
    for split in source.splits:
        judged = dataset.qrels(split)
        ids = sorted(id_ for id_, grades in judged.items() if any(grade > 0 for grade in grades.values()))
        rng.shuffle(ids)
        for id_ in ids[: max(0, source.queries - len(relevant))]:
            relevant[id_] = {document for document, grade in judged[id_].items() if grade > 0}
    needed = {document for documents in relevant.values() for document in documents}
    texts = {document.id: document.full_text for document in dataset.documents() if document.full_text.strip()}
    others = sorted(texts.keys() - needed)
    rng.shuffle(others)
    kept = needed | set(others[: max(0, source.documents - len(needed))])
    return relevant, {id_: text for id_, text in texts.items() if id_ in kept}


def lexical_candidates(texts: dict[str, str], queries: dict[str, str], lang: str) -> dict[str, dict[str, float]]:
    """Return BM25's best passages of each query, with their scores."""
    store = HybridDocumentStore(language=lang)
    ids = list(texts)
    for start in range(0, len(ids), 5000):
        store.write_documents([Document(id=id_, content=texts[id_]) for id_ in ids[start : start + 5000]])
    results = {
        id_: {document.id: document.score or 0.0 for document in store.bm25_retrieval(text, top_k=DEPTH)}
        for id_, text in queries.items()
    }
    store.close()
    return results


def measured_queries(collections: Path) -> set[str]:
    """Return the normalised queries of the dev and test splits of all collections."""
    measured = set()
    for folder in collections.iterdir():
        splits = [split for split in MEASURED if (folder / "qrels" / f"{split}.tsv").is_file()]
        queries = BeirDataset(folder).queries() if splits else {}
        for split in splits:
            measured |= {normalised(queries[id_].text) for id_ in BeirDataset(folder).qrels(split) if id_ in queries}
    return measured


def make_lists(
    dataset: BeirDataset, source: Source, encoder: Encoder, lang: str, rng: random.Random, measured: set[str]
) -> Iterator[dict[str, Any]]:
    """Yield the lists of a collection: query, passages, and which of them are relevant."""
    relevant, texts = choose(dataset, source, rng)
    known = dataset.queries()
    queries = {id_: known[id_].text for id_ in relevant if known[id_].text.strip()}
    queries = {id_: text for id_, text in queries.items() if normalised(text) not in measured}
    lexical = lexical_candidates(texts, queries, lang)
    dense = dense_candidates(texts, queries, relevant, encoder, source.dense, rng) if source.dense else {}
    for id_, query in queries.items():
        right = sorted(document for document in relevant[id_] if document in texts)
        for _ in range(source.repeats if right else 0):
            chosen = _choose(right, list(lexical[id_]), dense.get(id_, []), list(texts), texts, rng)
            yield {
                "query": query,
                "passages": [texts[document][:CHARACTERS] for document in chosen],
                "relevant": [document in relevant[id_] for document in chosen],
            }


def dense_candidates(
    texts: dict[str, str],
    queries: dict[str, str],
    relevant: dict[str, set[str]],
    encoder: Encoder,
    most: int,
    rng: random.Random,
) -> dict[str, list[str]]:
    """Return the bi-encoder's best passages of each query, among the judged ones and others at random."""
    needed = {document for id_ in queries for document in relevant[id_] if document in texts}
    others = sorted(texts.keys() - needed)
    ids = [*sorted(needed), *rng.sample(others, max(0, min(len(others), most - len(needed))))][:most]
    model = encoder.bi_encoder()
    passages = vectors(encoder, model, [texts[id_] for id_ in ids], encoder.passage_prefix, DENSE_TOKENS).float()
    asked = vectors(encoder, model, list(queries.values()), encoder.query_prefix, 64).float()
    orders = (asked @ passages.T).topk(min(DEPTH, len(ids)), dim=1).indices.tolist()
    return {id_: [ids[position] for position in order] for id_, order in zip(queries, orders, strict=True)}


def _choose(
    right: list[str], lexical: list[str], dense: list[str], ids: list[str], texts: dict[str, str], rng: random.Random
) -> list[str]:
    chosen = [rng.choice(right)]
    seen = set(right)
    positives = [texts[document] for document in right]

    def take(pool: list[str], wanted: int) -> None:
        free = [document for document in pool if document not in seen]
        rng.shuffle(free)
        for document in free:
            if wanted == 0:
                return
            seen.add(document)
            if not is_near_duplicate(texts[document], positives, NEAR_DUPLICATES):
                chosen.append(document)
                wanted -= 1

    take(lexical[:TOP], 3)
    take(dense[:TOP] or lexical[:TOP], 2)
    take(lexical[TOP:], 1)
    take(dense[TOP:] or lexical[TOP:], 1)
    take(rng.sample(ids, min(len(ids), 4 * LIST_SIZE)), LIST_SIZE - len(chosen))
    return chosen


def main() -> None:
    """Write the lists of every collection that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--e5", default="intfloat/multilingual-e5-small", help="or a folder with a reduced vocabulary")
    parser.add_argument("--most", type=int, default=10_000, help="maximum number of queries of each collection")
    parser.add_argument(
        "--no-dense", action="store_true", help="candidates of BM25 alone: what early_exit.py needs, in minutes"
    )
    parser.add_argument("--only", nargs="+", choices=list(SOURCES), help="only these collections")
    options = parser.parse_args()
    measured = measured_queries(options.collections)
    for name in options.only or SOURCES:
        file = options.work / "lists" / f"{name}.jsonl"
        if file.exists():
            continue
        lang = language_of(name)
        rng = random.Random(f"lists {name}")
        dataset = BeirDataset(options.collections / name)
        source = replace(SOURCES[name], queries=min(SOURCES[name].queries, options.most))
        if options.no_dense:
            source = replace(source, dense=0)
        rows = list(make_lists(dataset, source, encoder_of(lang, options.e5), lang, rng, measured))
        rng.shuffle(rows)
        with replace_file(file) as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        print(f"{name}: {len(rows)} lists", flush=True)


if __name__ == "__main__":
    main()
