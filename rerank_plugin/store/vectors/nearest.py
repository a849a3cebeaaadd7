"""The exact nearest neighbours of a few vectors, found while all vectors pass by once."""

import numpy as np
import numpy.typing as npt

from rerank_plugin.store.derived import Rows
from rerank_plugin.store.vectors.similarity import compare

Matrix = npt.NDArray[np.float32]


class Nearest:
    """The nearest rows seen so far of each query."""

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
