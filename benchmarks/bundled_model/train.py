"""
Train a bundled model, the first half: on labelled pairs. Version 0 of `minilm-l6-en` was made so; `distil.py` is the second half.

    python benchmarks/bundled_model/train.py FOLDER_OF_COLLECTIONS --output FOLDER [--pairs 84000] [--epochs 1]

The folder holds collections in BEIR layout named perspectrum, nq_qed_clapnq, squad11_train and medquad; only their `train`
judgements are read. Pairs come from two kinds of queries:

- judged queries, with negatives from BM25's list, from the bi-encoder's list and at random;
- pseudo queries: a sentence of a passage, or a few words of it, the sentence taken out of the passage in 70 % of the cases.

Labels are 1 and 0 for SQuAD. Elsewhere a negative may answer the query too (the judgements are sparse), so its label is soft:
sigmoid(3 + t - t_best), where t = cosine / 0.06 + 2.5 * BM25 / best BM25 is the opinion of both retrievers and t_best is that of
the judged passage plus 3. Then `rerank train --fast` (binary cross-entropy) runs over the pairs, shuffled.
"""

import argparse
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from haystack import Document
from pseudo_queries import keywords, sentences
from sentence_transformers import SentenceTransformer

from rerank_plugin import HybridDocumentStore
from rerank_plugin.beir import BeirDataset
from rerank_plugin.pipelines import PACKAGED_MODEL, packaged_model
from rerank_plugin.training.config import TrainingConfig
from rerank_plugin.training.data import LabelledPair, write_pairs
from rerank_plugin.training.recipe import TrainingData
from rerank_plugin.training.train import train_and_save

SEED = 42
MAX_LENGTH = 176
DEPTH = 60
PASSAGE_CHARACTERS = 1600


@dataclass(frozen=True)
class Collection:
    """How much is taken from a collection."""

    name: str
    judged: int
    pseudo: int
    positives: int = 1
    bm25_negatives: int = 1
    dense_negatives: int = 1
    soft: bool = True


COLLECTIONS = (
    Collection("perspectrum", judged=541, pseudo=0, positives=8),
    Collection("nq_qed_clapnq", judged=7370, pseudo=1500, positives=2),
    Collection("squad11_train", judged=7000, pseudo=1800, bm25_negatives=2, dense_negatives=0, soft=False),
    Collection("medquad", judged=2300, pseudo=1200),
)


@dataclass(frozen=True)
class Item:
    """A query, its relevant passages, and for a pseudo query the passage it was taken from, as it is after that."""

    query: str
    relevant: tuple[str, ...]
    source: str | None = None
    source_text: str = ""


@dataclass
class Miner:
    """Draws pairs from one collection."""

    collection: Collection
    texts: dict[str, str]
    draw: random.Random
    encoder: SentenceTransformer
    store: HybridDocumentStore = field(default_factory=HybridDocumentStore)

    def __post_init__(self) -> None:
        self._ids = list(self.texts)
        self._position = {id_: i for i, id_ in enumerate(self._ids)}
        self._vectors = self.encode([text[:1000] for text in self.texts.values()])
        for start in range(0, len(self._ids), 1000):
            batch = self._ids[start : start + 1000]
            self.store.write_documents([Document(id=id_, content=self.texts[id_]) for id_ in batch])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Normalised vectors, one a row."""
        return self.encoder.encode(list(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=True)

    def pseudo_query(self, id_: str) -> Item | None:
        """Make a query out of a passage."""
        title, _, body = self.texts[id_].partition("\n")
        found = sentences(body or title, longest=40)
        if len(found) < 3:
            return None
        sentence = self.draw.choice(found)
        query = sentence if self.draw.random() < 0.4 else keywords(sentence, self.draw, fewest=3, most=6)
        if query is None:
            return None
        text = self.texts[id_].replace(sentence, "") if self.draw.random() < 0.7 else self.texts[id_]
        return Item(query, (id_,), source=id_, source_text=text)

    def pairs(self, item: Item, vector: np.ndarray) -> list[LabelledPair]:
        """The pairs of one query."""
        bm25 = (
            {d.id: d.score or 0.0 for d in self.store.bm25_retrieval(item.query, top_k=DEPTH)} if item.query.strip() else {}
        )
        cosine = self._vectors @ vector
        dense = [self._ids[i] for i in np.argsort(-cosine)[:DEPTH]]
        best_bm25 = max(bm25.values(), default=1.0)

        def opinion(id_: str) -> float:
            return float(cosine[self._position[id_]] / 0.06 + 2.5 * bm25.get(id_, 0.0) / best_bm25)

        positives = self.draw.sample(item.relevant, min(self.collection.positives, len(item.relevant)))
        negatives = self._negatives(item, list(bm25), dense, len(positives))
        is_pseudo = item.source is not None
        best = max(opinion(id_) for id_ in positives) + 3
        made = [
            LabelledPair(item.query, item.source_text if is_pseudo else self.texts[id_], 0.95 if is_pseudo else 1.0)
            for id_ in positives
        ]
        for id_ in negatives:
            soft = self.collection.soft or is_pseudo
            label = 1 / (1 + math.exp(min(50.0, best - opinion(id_) - 3))) if soft else 0.0
            made.append(LabelledPair(item.query, self.texts[id_], round(label, 4)))
        return [pair for pair in made if pair.query.strip() and pair.passage.strip()]

    def _negatives(self, item: Item, bm25: list[str], dense: list[str], positives: int) -> list[str]:
        relevant = set(item.relevant)
        lexical = [id_ for id_ in bm25 if id_ not in relevant]
        semantic = [id_ for id_ in dense if id_ not in relevant]
        is_pseudo = item.source is not None
        taken: list[str] = []

        def take(pool: Sequence[str], count: int) -> None:
            free = [id_ for id_ in pool if id_ not in taken and id_ not in relevant]
            taken.extend(self.draw.sample(free, min(count, len(free))))

        take(lexical[:10], positives * (1 if is_pseudo else self.collection.bm25_negatives))
        take(semantic[:12], positives * (1 if is_pseudo else self.collection.dense_negatives))
        if self.draw.random() < 0.7:
            take(semantic[20:] + lexical[20:], positives)
        if self.draw.random() < 0.6:
            take(self._ids, positives)
        return taken


def pairs_of(collection: Collection, root: Path, draw: random.Random, encoder: SentenceTransformer) -> list[LabelledPair]:
    """All pairs of one collection."""
    dataset = BeirDataset(root / collection.name)
    texts = {document.id: document.full_text[:PASSAGE_CHARACTERS] for document in dataset.documents()}
    queries, qrels = dataset.queries(), dataset.qrels("train")
    miner = Miner(collection, texts, draw, encoder)
    judged = draw.sample(list(qrels), min(collection.judged, len(qrels)))
    items = [Item(queries[q].text, tuple(d for d, grade in qrels[q].items() if grade > 0 and d in texts)) for q in judged]
    made = [miner.pseudo_query(id_) for id_ in draw.sample(list(texts), min(collection.pseudo, len(texts)))]
    items = [item for item in [*items, *made] if item is not None and item.relevant]
    vectors = miner.encode([item.query for item in items])
    return [pair for item, vector in zip(items, vectors, strict=True) for pair in miner.pairs(item, vector)]


def main() -> None:
    """Make the pairs, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=84_000, help="how many of the shuffled pairs are used")
    parser.add_argument("--epochs", type=float, default=1.0)
    options = parser.parse_args()

    start = packaged_model(PACKAGED_MODEL)
    encoder = SentenceTransformer(start, device="cpu")
    encoder.max_seq_length = MAX_LENGTH
    draw = random.Random(SEED)
    pairs = [pair for collection in COLLECTIONS for pair in pairs_of(collection, options.collections, draw, encoder)]
    draw.shuffle(pairs)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "pairs.jsonl"
    write_pairs(pairs[: options.pairs], file)
    config = TrainingConfig(model=start, epochs=options.epochs, max_length=MAX_LENGTH, seed=SEED, save_steps=250, fast=True)
    summary = train_and_save(
        pairs[: options.pairs], config, options.output / "minilm-l6-en", sources=TrainingData(paths=(file,), seed=SEED)
    )
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
