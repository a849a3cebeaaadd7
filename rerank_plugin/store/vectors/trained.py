"""A FAISS index that can be saved, usually approximate: it supplies candidates, which are rescored from the database."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rerank_plugin.store.derived import Rows
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.vectors import kinds
from rerank_plugin.store.vectors.similarity import Matrix, Nearest, prepare

# Candidates per requested hit: compression reorders near neighbours, so more of them are fetched and scored exactly.
OVERSAMPLING = 2
# The search effort is the least that reaches this recall with stored vectors as queries. Recall for real queries is lower:
# 0.985 corresponded to 0.95.
TARGET_RECALL = 0.985
MEASURED_AT = 100
_QUERIES = 100
_SEED = 7


@dataclass(frozen=True)
class Trained:
    """
    The properties of a trained index.

    :param kind: Any kind except `auto`.
    :param similarity: `cosine`, `dot_product` or `l2`.
    :param effort: Search effort: `nprobe` of IVF, `efSearch` of HNSW.
    :param recall: Recall@100 with this effort, measured with a sample of the stored vectors as queries.
    :param trained_on: Number of vectors in the index when it was trained.
    """

    kind: str
    similarity: str
    effort: int
    recall: float
    trained_on: int


class TrainedIndex:
    """Vectors in an approximate index. Replaced and deleted vectors are only marked, until the index is rebuilt."""

    def __init__(self, index: Any, rows: Rows, alive: npt.NDArray[np.bool_], facts: Trained) -> None:
        """
        Wrap a FAISS index.

        :param index: The FAISS index.
        :param rows: The database row of each position.
        :param alive: For each position, False if the vector was replaced or deleted.
        :param facts: The properties of the index.
        """
        self.index = index
        self.rows = rows
        self.alive = alive
        self.facts = facts

    def __len__(self) -> int:
        """Return the number of vectors that are not marked as deleted."""
        return int(np.count_nonzero(self.alive))

    @property
    def deleted_count(self) -> int:
        """Number of vectors that are marked as deleted."""
        return int(self.alive.size) - len(self)

    def mark_deleted(self, rows: list[int]) -> None:
        """
        Mark vectors as deleted.

        :param rows: Their rows; rows without a vector in this index are ignored.
        """
        if rows:
            self.alive = self.alive & ~_among(self.rows, np.array(rows, dtype=np.int64))

    def mask(self, allowed: Rows | None) -> npt.NDArray[np.bool_]:
        """
        Return for each position whether its vector is alive and may be returned.

        :param allowed: The rows that may be returned; None for all.
        """
        return self.alive if allowed is None else self.alive & _among(self.rows, allowed)

    def candidates(self, query: Matrix, limit: int, mask: npt.NDArray[np.bool_]) -> Rows:
        """
        Return the rows of the approximate nearest neighbours of a vector.

        :param query: A prepared vector.
        :param limit: Number of candidates.
        :param mask: See `mask`.
        :returns: At most `limit` rows, in no particular order.
        """
        import faiss

        bits = np.packbits(mask, bitorder="little")
        selector = faiss.IDSelectorBitmap(mask.size, faiss.swig_ptr(bits))
        positions = self._search(query[np.newaxis], limit, self.facts.effort, selector)[0]
        rows: Rows = self.rows[positions[positions >= 0]]
        return rows

    def _search(self, queries: Matrix, limit: int, effort: int, selector: Any) -> npt.NDArray[np.int64]:
        limit = min(limit, self.rows.size)
        # HNSW cannot return more than efSearch results.
        effort = effort if self.facts.kind.startswith("ivf") else max(effort, limit)
        positions: npt.NDArray[np.int64] = self.index.search(
            queries, limit, params=kinds.parameters(self.facts.kind, effort, selector)
        )[1]
        return positions

    def extended(self, index: Any, batches: Iterator[tuple[list[int], Matrix]]) -> "TrainedIndex":
        """
        Return an index with more vectors, without training it again.

        :param index: A writable copy of the FAISS index.
        :param batches: Rows and vectors to add.
        """
        rows = [self.rows]
        for added, vectors in batches:
            index.add(prepare(vectors, self.facts.similarity))
            rows.append(np.array(added, dtype=np.int64))
        together = np.concatenate(rows)
        alive = np.concatenate([self.alive, np.ones(together.size - self.rows.size, dtype=np.bool_)])
        return TrainedIndex(index, together, alive, self.facts)

    @classmethod
    def build(cls, database: Database, kind: str, similarity: str) -> "TrainedIndex":
        """
        Build an index of all vectors. Call inside a snapshot.

        :param database: The source-of-truth database.
        :param kind: Any kind except `auto`.
        :param similarity: `cosine`, `dot_product` or `l2`.
        """
        rows = database.vectors.rows()
        rng = np.random.default_rng(_SEED)
        sample = np.sort(rng.choice(rows, kinds.sample_size(kind, rows.size), replace=False))
        vectors = prepare(np.concatenate([batch for _, batch in database.vectors.of(sample.tolist())]), similarity)
        index = kinds.make(kind, vectors.shape[1], similarity, rows.size)
        index.train(vectors)
        chosen = np.sort(rng.choice(rows, min(_QUERIES, rows.size), replace=False))
        queries = np.concatenate([batch for _, batch in database.vectors.of(chosen.tolist())])
        exact = None if kind == "flat" else Nearest(prepare(queries, similarity), similarity, MEASURED_AT)
        for added, batch in database.vectors.of(None):
            prepared = prepare(batch, similarity)
            index.add(prepared)
            if exact is not None:
                exact.add(np.array(added, dtype=np.int64), prepared)
        facts = Trained(kind, similarity, effort=1, recall=1.0, trained_on=int(rows.size))
        built = cls(index, rows, np.ones(rows.size, dtype=np.bool_), facts)
        return built if exact is None else built._tuned(exact)

    def _tuned(self, exact: Nearest) -> "TrainedIndex":
        import faiss

        limit = exact.rows.shape[1] * OVERSAMPLING
        for effort in kinds.efforts(self.facts.kind, self.rows.size):
            positions = self._search(exact.queries, limit, effort, faiss.IDSelectorAll())
            rows = np.where(positions >= 0, self.rows[positions], -1)
            recall = exact.recall_of(list(rows))
            self.facts = replace(self.facts, effort=effort, recall=round(recall, 4))
            if self.facts.recall >= TARGET_RECALL:
                break
        return self


def _among(rows: Rows, chosen: Rows) -> npt.NDArray[np.bool_]:
    """Return for each row whether it is chosen. A lookup table keeps this at about 1 ms for a million rows."""
    if not rows.size or not chosen.size:
        return np.zeros(rows.size, dtype=np.bool_)
    table = np.zeros(int(max(rows.max(), chosen.max())) + 1, dtype=np.bool_)
    table[chosen] = True
    return table[rows]


def writable(index: Any) -> Any:
    """
    Return a copy of a FAISS index that vectors can be added to.

    :param index: The index.
    """
    return copy.deepcopy(index)
