"""Similarity of vectors: preparation for FAISS, conversion of its values to scores, and exact nearest neighbours."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rerank_plugin.store.derived import Rows

Matrix = npt.NDArray[np.float32]

# Norms up to this value, and their inverses, are accurate enough in single precision.
_LARGE = 1e30


def prepare(vectors: npt.NDArray[Any], similarity: str) -> npt.NDArray[np.float32]:
    """
    Return vectors as FAISS compares them: normalised to unit norm for `cosine`, unchanged otherwise.

    :param vectors: Shape (vectors, dimension).
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    if similarity == "cosine":
        # In double precision: the squares of large values, and even a norm, would overflow in single precision.
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, np.newaxis]
        # A zero vector has no direction: it is left unchanged, and its cosine is 0.
        norms[norms == 0] = 1
        usual = norms.size and norms.max() < _LARGE and norms.min() > 1 / _LARGE
        vectors = vectors / (norms.astype(vectors.dtype) if usual else norms)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def scores(values: npt.NDArray[Any], similarity: str) -> npt.NDArray[np.float64]:
    """
    Return scores, where higher is better: the cosine, the dot product, or 1 / (1 + squared distance).

    :param values: Inner products, or squared distances for `l2`.
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    values = values.astype(np.float64)
    if similarity == "l2":
        similarities: npt.NDArray[np.float64] = 1 / (1 + np.maximum(values, 0))
        return similarities
    clipped: npt.NDArray[np.float64] = np.clip(values, -1, 1) if similarity == "cosine" else values
    return clipped


def compare(query: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], similarity: str) -> npt.NDArray[np.float32]:
    """
    Return the values that FAISS would return: inner products, or squared distances for `l2`.

    :param query: A prepared vector, shape (dimension,).
    :param vectors: Prepared vectors, shape (vectors, dimension).
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    if similarity == "l2":
        # From differences, as FAISS does for a single query: the binomial formula suffers from cancellation.
        difference = vectors - query
        distances: npt.NDArray[np.float32] = np.einsum("ij,ij->i", difference, difference)
        return distances
    products: npt.NDArray[np.float32] = vectors @ query
    return products


class Nearest:
    """The exact nearest neighbours of several queries, computed in one pass over all vectors."""

    def __init__(self, queries: Matrix, similarity: str, count: int) -> None:
        """
        Start without neighbours.

        :param queries: Prepared vectors, shape (queries, dimension).
        :param similarity: `cosine`, `dot_product` or `l2`.
        :param count: Number of neighbours to keep for each query.
        """
        self.queries = queries
        self.rows: npt.NDArray[np.int64] = np.empty((len(queries), 0), dtype=np.int64)
        self._similarity = similarity
        self._count = count
        self._values: Matrix = np.empty((len(queries), 0), dtype=np.float32)

    def add(self, rows: Rows, vectors: Matrix) -> None:
        """
        Compare the queries with more vectors.

        :param rows: Their rows.
        :param vectors: Prepared vectors, shape (rows, dimension).
        """
        if self._similarity == "l2":
            values = -np.stack([compare(query, vectors, self._similarity) for query in self.queries])
        else:
            values = self.queries @ vectors.T
        together = np.concatenate([self._values, values], axis=1)
        ids = np.concatenate([self.rows, np.broadcast_to(rows, values.shape)], axis=1)
        if together.shape[1] > self._count:
            best = np.argpartition(-together, self._count - 1, axis=1)[:, : self._count]
        else:
            best = np.broadcast_to(np.arange(together.shape[1]), together.shape)
        self._values, self.rows = np.take_along_axis(together, best, axis=1), np.take_along_axis(ids, best, axis=1)

    def recall_of(self, results: list[Rows]) -> float:
        """
        Return the recall of other results: the mean share of the nearest rows that they contain.

        :param results: The rows returned for each query.
        """
        return float(np.mean([np.isin(true, rows).mean() for true, rows in zip(self.rows, results, strict=True)]))
