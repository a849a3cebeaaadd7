"""Scores scaled to between 0 and 1, with the formulas of Haystack's InMemoryDocumentStore."""

import math
from dataclasses import replace

from haystack.dataclasses import Document

BM25 = "bm25"
# BM25_SCALING_FACTOR and DOT_PRODUCT_SCALING_FACTOR of haystack/document_stores/in_memory/document_store.py (3.4).
_DIVISORS = {BM25: 8.0, "dot_product": 100.0}


def scaled(documents: list[Document], similarity: str) -> list[Document]:
    """
    Return copies of the documents with scaled scores, in the same order.

    :param documents: The documents; they are not changed.
    :param similarity: `bm25`: expit(score / 8). `dot_product`: expit(score / 100). `cosine`: (score + 1) / 2. `l2`, which
        Haystack's store does not have: unchanged, as the score 1 / (1 + squared distance) is already between 0 and 1.
    """
    return [replace(document, score=_scaled(document.score or 0.0, similarity)) for document in documents]


def _scaled(score: float, similarity: str) -> float:
    if similarity == "cosine":
        return (score + 1) / 2
    if similarity in _DIVISORS:
        return _expit(score / _DIVISORS[similarity])
    return score


def _expit(x: float) -> float:
    # Of the two forms of 1 / (1 + exp(-x)), the one whose exponential cannot overflow.
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
