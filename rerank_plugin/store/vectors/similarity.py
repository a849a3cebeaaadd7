"""How vectors are compared, with FAISS's numbers on the way in and ours on the way out; and exact nearest neighbours."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rerank_plugin.store.derived import Rows

Matrix = npt.NDArray[np.float32]

# Lengths up to here, and their inverses, are exact enough in single precision.
_LARGE = 1e30


def prepare(vectors: npt.NDArray[Any], similarity: str) -> npt.NDArray[np.float32]:
    """
    Return vectors as FAISS compares them: of length 1 for `cosine`, as they are otherwise.

    :param vectors: One a line.
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    if similarity == "cosine":
        # Large values would overflow in single precision when squared, and a length in the end, too.
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, np.newaxis]
        # A vector of zeros points nowhere: it is left as it is, and its cosine is 0.
        lengths[lengths == 0] = 1
        usual = lengths.size and lengths.max() < _LARGE and lengths.min() > 1 / _LARGE
        vectors = vectors / (lengths.astype(vectors.dtype) if usual else lengths)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def scores(values: npt.NDArray[Any], similarity: str) -> npt.NDArray[np.float64]:
    """
    Return the scores that users see: the cosine, the dot product, or 1 / (1 + squared distance).

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
    Return what FAISS would: inner products, or squared distances for `l2`.

    :param query: A prepared vector.
    :param vectors: Prepared vectors, one a line.
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    if similarity == "l2":
        # By differences, as FAISS does for one query: exact for near vectors, where the binomial formula cancels out.
        difference = vectors - query
        distances: npt.NDArray[np.float32] = np.einsum("ij,ij->i", difference, difference)
        return distances
    products: npt.NDArray[np.float32] = vectors @ query
    return products


class Nearest:
    """The nearest rows of a few queries, found while all vectors pass by once."""

    def __init__(self, queries: Matrix, similarity: str, count: int) -> None:
        """
        Begin with none.

        :param queries: Prepared vectors, one a line.
        :param similarity: `cosine`, `dot_product` or `l2`.
        :param count: How many neighbours are kept of each.
        """
        self.queries = queries
        self.rows: npt.NDArray[np.int64] = np.empty((len(queries), 0), dtype=np.int64)
        self._similarity = similarity
        self._count = count
        self._values: Matrix = np.empty((len(queries), 0), dtype=np.float32)

    def add(self, rows: Rows, vectors: Matrix) -> None:
        """
        Look at more vectors.

        :param rows: Their rows.
        :param vectors: Prepared vectors, one a line.
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

    def share_in(self, found: list[Rows]) -> float:
        """
        Return the recall of other results: the mean share of the nearest rows that are among them.

        :param found: Rows, for each query.
        """
        return float(np.mean([np.isin(true, near).mean() for true, near in zip(self.rows, found, strict=True)]))
