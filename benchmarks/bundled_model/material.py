"""
Step 1 of 2 in building the bundled models, on any machine: pack collections into one file for the machine with the GPU.

    python benchmarks/bundled_model/material.py FOLDER_OF_COLLECTIONS --output material.json.xz

The file has texts, judged queries, the stem of every word, and for the queries of the dev and test splits BM25's 100 candidates.
Only `train` judgements are used for training. 25 articles of SQuAD, and several hundred queries of two other collections (with
all queries that share a judged passage with them), are held out for evaluation.
"""

import argparse
import json
import lzma
import random
import re
from itertools import islice
from pathlib import Path
from typing import Any

import Stemmer
from haystack import Document

from rerank_plugin import HybridDocumentStore
from rerank_plugin.collections.beir import BeirDataset

WORD = re.compile(r"\w+")
CANDIDATES = 100
HELD = {"squad11_train": 500, "nq_qed_clapnq": 500, "medquad": 400}
HELD_ARTICLES = 25
TRAINED = (
    "squad11_train nq_qed_clapnq medquad perspectrum danetqa_ru muserc_ru rumeddanet_ru ms_alchemy_ru".split()
)  # SciFact's train split is left out, so that its test split shows the quality on an unseen subject
MEASURED = {
    "squad11_dev": {"test": 2000},
    "selqa_sections": {"dev": 785, "test": 1590},
    "perspectrum": {"dev": 139, "test": 227},
    "scifact": {"test": 300},
    "danetqa_ru": {"dev": 570, "test": 594},
    "muserc_ru": {"dev": 528, "test": 1806},
    "rumeddanet_ru": {"dev": 256, "test": 768},
}


def held_out(name: str, ids: list[str], relevant: dict[str, set[str]], rng: random.Random) -> tuple[list[str], set[str]]:
    """Return the queries held out of training, and their relevant passages."""
    if name not in HELD:
        return [], set()
    if name == "squad11_train":
        articles = sorted({query.split("::")[0] for query in ids})
        rng.shuffle(articles)
        chosen = set(articles[:HELD_ARTICLES])
        held = [query for query in ids if query.split("::")[0] in chosen]
        passages = {passage for query in held for passage in relevant[query]}
        rng.shuffle(held)
        return held[: HELD[name]], passages
    held = rng.sample(ids, HELD[name])
    return held, {passage for query in held for passage in relevant[query]}


def read_collection(folder: Path, lang: str, rng: random.Random) -> dict[str, Any]:
    """Read a collection, with its passages by position."""
    dataset, name = BeirDataset(folder), folder.name
    documents = list(dataset.documents())
    at = {document.id: position for position, document in enumerate(documents)}
    queries = dataset.queries()
    content: dict[str, Any] = {"lang": lang, "docs": [[d.title, d.text] for d in documents], "train": [], "eval": {}}
    measured = [
        (split, [(queries[id_].text, grades) for id_, grades in islice(_in_order(dataset, split), most)])
        for split, most in MEASURED.get(name, {}).items()
    ]
    if name in TRAINED:
        qrels = dict(_in_order(dataset, "train"))
        relevant = {id_: {d for d, grade in grades.items() if grade > 0} for id_, grades in qrels.items()}
        held, passages = held_out(name, list(qrels), relevant, rng)
        if held:
            measured.append(("held", [(queries[id_].text, qrels[id_]) for id_ in held]))
        content["held_docs"] = sorted(at[passage] for passage in passages)
        content["train"] = [
            [queries[id_].text, {at[d]: qrels[id_][d] for d in relevant[id_]}]
            for id_ in qrels
            if not relevant[id_] & passages
        ]
    with_title = [document.full_text for document in documents]
    store = HybridDocumentStore(language=lang)
    for start in range(0, len(documents), 5000):
        batch = range(start, min(start + 5000, len(documents)))
        store.write_documents([Document(id=str(i), content=with_title[i]) for i in batch])
    for split, rows in measured:
        content["eval"][split] = [
            [
                text,
                {at[d]: grade for d, grade in grades.items()},
                [[int(d.id), round(d.score or 0.0, 3)] for d in store.bm25_retrieval(text, top_k=CANDIDATES)],
            ]
            for text, grades in rows
        ]
    store.close()
    return content


def _in_order(dataset: BeirDataset, split: str) -> Any:
    qrels = dataset.qrels(split)
    return ((id_, qrels[id_]) for id_ in dataset.queries(split) if any(grade > 0 for grade in qrels[id_].values()))


def main() -> None:
    """Read the collections, retrieve candidates, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    rng = random.Random(7)
    collections = {}
    words: dict[str, set[str]] = {"en": set(), "ru": set()}
    for name in dict.fromkeys([*TRAINED, *MEASURED]):
        lang = "ru" if name.endswith("_ru") else "en"
        collections[name] = content = read_collection(options.collections / name, lang, rng)
        for text in [*(text for pair in content["docs"] for text in pair), *(query for query, _ in content["train"])]:
            words[lang].update(WORD.findall(text.lower()))
        print(
            name, len(content["docs"]), len(content["train"]), {split: len(rows) for split, rows in content["eval"].items()}
        )
    stemmers = {"en": Stemmer.Stemmer("english"), "ru": Stemmer.Stemmer("russian")}
    stems = {
        lang: {word: stem for word, stem in zip(order, stemmers[lang].stemWords(order), strict=True) if word != stem}
        for lang, order in ((lang, sorted(known)) for lang, known in words.items())
    }
    text = json.dumps({"collections": collections, "stems": stems}, ensure_ascii=False, separators=(",", ":"))
    options.output.write_bytes(lzma.compress(text.encode("utf-8")))


if __name__ == "__main__":
    main()
