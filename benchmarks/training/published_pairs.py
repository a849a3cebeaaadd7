"""
Labelled pairs with the shape and size of the published models' training data, generated from judged collections.

    python benchmarks/training/published_pairs.py msmarco-en FOLDER_OF_COLLECTIONS --output en.jsonl
    python benchmarks/training/published_pairs.py msmarco-ru FOLDER_OF_COLLECTIONS --output ru.jsonl

The number of pairs, the mean label, and the lengths of queries and passages are those of the published cards. A passage consists
of consecutive sentences of a document, around the one that shares most words with the query, for positives and negatives alike.
Negatives come from BM25's top hundred. Only `train` judgements are read.
"""

import argparse
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from haystack import Document

from rerank_plugin import HybridDocumentStore
from rerank_plugin.collections.beir import BeirDataset

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
WORD = re.compile(r"\w+")
STEM = 5  # letters of a word that are compared, enough to find the sentence that a query is about
DEPTH = 100
SPREAD = 0.5  # of the logarithm of a passage's length


@dataclass(frozen=True)
class Shape:
    """
    The training data of a published model, as described in its card.

    :param collections: The collections to generate from.
    :param language: Language of the stemmer.
    :param pairs: Number of pairs.
    :param positives: Number of pairs with label 1.
    :param query: Shortest, mean and longest query, in characters.
    :param passage: The same of passages.
    :param target: Mean of the target lengths; passages end with a sentence, so they become longer.
    """

    collections: tuple[str, ...]
    language: str
    pairs: int
    positives: int
    query: tuple[int, float, int]
    passage: tuple[int, float, int]
    target: float


SHAPES = {
    "msmarco-en": Shape(
        ("squad11_train", "nq_qed_clapnq"), "en", 310_558, 9_317, (10, 32.81, 176), (65, 346.23, 1023), 270.0
    ),
    "msmarco-ru": Shape(
        ("danetqa_ru", "rumeddanet_ru", "muserc_ru"), "ru", 12_431, 497, (13, 41.89, 151), (36, 365.64, 1022), 290.0
    ),
}


def tilt(lengths: Sequence[int], mean: float) -> list[float]:
    """Return weights exp(-rate * length), with the rate for which the weighted mean length is `mean`."""
    low, high = -0.5, 0.5
    for _ in range(60):
        rate = (low + high) / 2
        weights = [math.exp(-rate * length) for length in lengths]
        weighted = sum(w * length for w, length in zip(weights, lengths, strict=True)) / sum(weights)
        low, high = (rate, high) if weighted > mean else (low, rate)
    return weights


def choose(questions: list[tuple[str, str, str]], shape: Shape, rng: random.Random) -> list[tuple[str, str, str]]:
    """Return the questions (collection, id, text) in an order whose beginning has the published lengths."""
    weights = tilt([len(text) for *_, text in questions], shape.query[1])
    # Efraimidis and Spirakis (2006): the largest u^(1/w) are a weighted sample without replacement.
    keys = [math.log(rng.random()) / weight for weight in weights]
    order = sorted(range(len(questions)), key=lambda i: -keys[i])
    return [questions[i] for i in order]


def stems(text: str) -> set[str]:
    """Return the beginnings of the words of a text."""
    return {word[:STEM] for word in WORD.findall(text.lower()) if len(word) > 2}


def window(query: str, text: str, shape: Shape, rng: random.Random) -> str | None:
    """Return consecutive sentences around the one closest to the query; `None` if their length is out of range."""
    shortest, _, longest = shape.passage
    sentences = [sentence for sentence in SENTENCE_END.split(text) if sentence.strip()]
    if not sentences:
        return None
    asked = stems(query)
    best = max(range(len(sentences)), key=lambda i: (len(asked & stems(sentences[i])), -i))
    wanted = rng.lognormvariate(math.log(shape.target) - SPREAD**2 / 2, SPREAD)
    first, last = best, best + 1
    while (length := len(" ".join(sentences[first:last]))) < wanted and (first > 0 or last < len(sentences)):
        if last < len(sentences) and (first == 0 or rng.random() < 0.6):
            last += 1
        else:
            first -= 1
    return " ".join(sentences[first:last]) if shortest <= length <= longest else None


def pairs(folder: Path, shape: Shape, seed: int) -> Iterator[dict[str, str | float]]:
    """Yield the pairs, grouped by query."""
    rng = random.Random(seed)
    questions, texts, relevant, stores = [], {}, {}, {}
    for name in shape.collections:
        dataset = BeirDataset(folder / name)
        texts[name] = {document.id: document.text for document in dataset.documents()}
        stores[name] = store = HybridDocumentStore(language=shape.language)
        store.write_documents([Document(id=id_, content=text) for id_, text in texts[name].items()])
        relevant[name] = dataset.qrels("train")
        shortest, _, longest = shape.query
        queries = dataset.queries("train").values()
        questions += [(name, query.id, query.text) for query in queries if shortest <= len(query.text) <= longest]
    negatives, positives_left = shape.pairs - shape.positives, shape.positives
    for name, id_, query in choose(questions, shape, rng):
        if positives_left == 0:
            return
        grades = relevant[name][id_]
        good = [window(query, texts[name][d], shape, rng) for d, grade in grades.items() if grade > 0]
        hits = stores[name].bm25_retrieval(query, top_k=DEPTH)
        others = [window(query, hit.content or "", shape, rng) for hit in hits if grades.get(hit.id, 0) == 0]
        bad = list(dict.fromkeys(text for text in others if text))
        wanted = round(negatives / positives_left)
        if not good or good[0] is None or len(bad) < wanted:
            continue
        yield {"query": query, "passage": good[0], "label": 1.0}
        for text in rng.sample(bad, wanted):
            yield {"query": query, "passage": text, "label": 0.0}
        positives_left, negatives = positives_left - 1, negatives - wanted


def main() -> None:
    """Generate the pairs, shuffle them, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=list(SHAPES))
    parser.add_argument("collections", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    rows = list(pairs(options.collections, SHAPES[options.recipe], options.seed))
    random.Random(options.seed).shuffle(rows)
    with options.output.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for column in ("query", "passage"):
        lengths = [len(str(row[column])) for row in rows[:1000]]
        print(column, "characters:", min(lengths), round(sum(lengths) / len(lengths), 2), max(lengths))
    print(len(rows), "pairs, mean label", round(sum(float(row["label"]) for row in rows) / len(rows), 4))


if __name__ == "__main__":
    main()
