"""
The last step on the way to the English model: it is taught to look at words more, by what BM25 adds to its own opinion.

    python benchmarks/bundled_model/lexical.py lists material.json.xz --output work
    python benchmarks/bundled_model/lexical.py teach work
    rerank train work/pairs.jsonl --config benchmarks/bundled_model/lexical.yaml --output model

`lists` draws judged queries and pseudo queries of the training collections, each with BM25's candidates in its own collection.
`teach` asks the model that is to be trained what it thinks of them (it goes on where it was interrupted), and writes the targets:
logit + 0.2 * BM25, and 1.5 more for what was judged relevant.
"""

import argparse
import json
import lzma
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haystack import Document
from pseudo_queries import pseudo_query

from rerank_plugin import HybridDocumentStore
from rerank_plugin.training.data import LabelledPair, write_pairs
from rerank_plugin.training.teacher import teach

SHARES = {"squad11_train": (880, 420), "nq_qed_clapnq": (890, 500), "medquad": (800, 980), "perspectrum": (250, 330)}
BM25_SHARE, BONUS = 0.2, 1.5
DEPTH, NEAR, FAR = (
    100,
    3,
    2,
)  # candidates that are drawn from BM25's first ten other passages, and from the rest of its hundred
FIRST = 10
SHORTEST, TRIES, TITLE_KEPT = 80, 6, 0.8


@dataclass(frozen=True)
class Question:
    """
    A query and the positions of the passages that answer it.

    :param text: The query.
    :param relevant: Positions.
    :param judged: Whether somebody judged so; else the query was made of the passage.
    """

    text: str
    relevant: frozenset[int]
    judged: bool


def ask(collection: Mapping[str, Any], shares: tuple[int, int], draw: random.Random) -> tuple[list[str], list[Question]]:
    """Return the passages of a collection, some without the sentence that a question was made of, and the questions."""
    wanted, pseudo = shares
    passages = [f"{title}\n{text}" if title else text for title, text in collection["docs"]]
    rows = [row for row in collection["train"] if row[1] and row[0].strip()]
    judged = draw.sample(rows, min(wanted, len(rows)))
    questions = [Question(text, frozenset(map(int, grades)), judged=True) for text, grades in judged]
    used = {position for question in questions for position in question.relevant} | set(collection.get("held_docs", []))
    free = [i for i, (_, text) in enumerate(collection["docs"]) if i not in used and len(text) >= SHORTEST]
    draw.shuffle(free)
    for position in free[:pseudo]:
        title, text = collection["docs"][position]
        made = next(filter(None, (pseudo_query(title, text, draw, "en") for _ in range(TRIES))), None)
        if made is None or not made[0].strip():
            continue
        query, rest = made
        if rest is not None:
            passages[position] = f"{title}\n{rest}" if title and draw.random() < TITLE_KEPT else rest
        questions.append(Question(query, frozenset([position]), judged=False))
    return passages, questions


def lists(collection: Mapping[str, Any], shares: tuple[int, int], draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the candidates of each question: one that answers it, three near ones, two far ones, with BM25's scores."""
    passages, questions = ask(collection, shares, draw)
    held = set(collection.get("held_docs", []))
    store = HybridDocumentStore(language="en")
    store.write_documents([Document(id=str(i), content=passage) for i, passage in enumerate(passages)])
    for question in questions:
        run = {int(d.id): d.score for d in store.bm25_retrieval(question.text, top_k=DEPTH) if int(d.id) not in held}
        found = [position for position in question.relevant if position in run]
        others = [position for position in run if position not in question.relevant]
        if found and len(others) >= FIRST + FAR:
            chosen = [draw.choice(found), *draw.sample(others[:FIRST], NEAR), *draw.sample(others[FIRST:], FAR)]
            yield {
                "query": question.text,
                "judged": question.judged,
                "passages": [passages[i] for i in chosen],
                "bm25": [run[i] for i in chosen],
            }
    store.close()


def targets(rows: Sequence[Mapping[str, Any]], logits: Mapping[tuple[str, str], float]) -> Iterator[LabelledPair]:
    """Yield the pairs with their targets; the first passage of a list is the one that answers."""
    for row in rows:
        for i, (passage, bm25) in enumerate(zip(row["passages"], row["bm25"], strict=True)):
            bonus = BONUS if row["judged"] and i == 0 else 0.0
            score = logits[row["query"], passage] + BM25_SHARE * bm25 + bonus
            yield LabelledPair(row["query"], passage, float(i == 0), teacher_score=round(score, 4))


def main() -> None:
    """Make the lists, or their targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    first = steps.add_parser("lists")
    first.add_argument("material", type=Path)
    first.add_argument("--output", type=Path, required=True)
    second = steps.add_parser("teach")
    second.add_argument("folder", type=Path)
    second.add_argument("--teacher", default="minilm-l6-en")
    options = parser.parse_args()
    if options.step == "lists":
        collections = json.loads(lzma.decompress(options.material.read_bytes()))["collections"]
        draw = random.Random(8)
        rows = {row["query"]: row for name, shares in SHARES.items() for row in lists(collections[name], shares, draw)}
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "lists.json").write_text(json.dumps(list(rows.values()), ensure_ascii=False), encoding="utf-8")
        return
    rows = json.loads((options.folder / "lists.json").read_text(encoding="utf-8"))
    asked = [LabelledPair(row["query"], passage, 0.0) for row in rows for passage in row["passages"]]
    taught = teach(asked, options.teacher, options.folder, progress=lambda done, total: print(done, "of", total, end="\r"))
    logits = {(pair.query, pair.passage): pair.teacher_score or 0.0 for pair in taught}
    print(write_pairs(targets(rows, logits), options.folder / "pairs.jsonl"), "pairs")


if __name__ == "__main__":
    main()
