"""A FAISS index in a file, mostly an approximate one: it finds candidates, whose exact scores come from the database."""

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

# So many times the wanted hits are fetched and scored exactly: compressed vectors confuse near neighbours, not far ones.
OVERSAMPLING = 2
# The search effort is the least with which this share of the true neighbours is found: of stored vectors, whose neighbours
# are found more easily than those of queries (0.985 here was 0.95 there).
WANTED_RECALL = 0.985
MEASURED_AT = 100
_QUERIES = 100
_SEED = 7


@dataclass(frozen=True)
class Trained:
    """
    What is known about an index, apart from its vectors.

    :param kind: A kind but `auto`.
    :param similarity: `cosine`, `dot_product` or `l2`.
    :param effort: Cells or nodes that a search looks at.
    :param recall: Share of the true 100 nearest that were found with this effort, for a sample of its own vectors.
    :param trained_on: How many vectors there were when it was trained.
    """

    kind: str
    similarity: str
    effort: int
    recall: float
    trained_on: int


class TrainedIndex:
    """Vectors in an approximate index. Vectors that are replaced or deleted are marked, until it is built again."""

    def __init__(self, index: Any, rows: Rows, alive: npt.NDArray[np.bool_], facts: Trained) -> None:
        """
        Wrap a FAISS index.

        :param index: The FAISS index.
        :param rows: Row of the database of each position.
        :param alive: Whether each position still counts.
        :param facts: What is known about it.
        """
        self.index = index
        self.rows = rows
        self.alive = alive
        self.facts = facts

    def __len__(self) -> int:
        """Return the number of vectors that count."""
        return int(np.count_nonzero(self.alive))

    @property
    def deleted_count(self) -> int:
        """Number of vectors that are marked as deleted."""
        return int(self.alive.size) - len(self)

    def mark_deleted(self, rows: list[int]) -> None:
        """
        Mark vectors as deleted.

        :param rows: Their rows; those without a vector here are passed over.
        """
        if rows:
            self.alive = self.alive & ~_among(self.rows, np.array(rows, dtype=np.int64))

    def mask(self, allowed: Rows | None) -> npt.NDArray[np.bool_]:
        """
        Return for each position whether it counts and may be returned.

        :param allowed: The rows that may be returned; None for all.
        """
        return self.alive if allowed is None else self.alive & _among(self.rows, allowed)

    def candidates(self, query: Matrix, limit: int, mask: npt.NDArray[np.bool_]) -> Rows:
        """
        Return rows that are probably near a vector.

        :param query: A prepared vector.
        :param limit: How many candidates.
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
        # HNSW cannot return more than it keeps in view.
        effort = effort if self.facts.kind.startswith("ivf") else max(effort, limit)
        positions: npt.NDArray[np.int64] = self.index.search(
            queries, limit, params=kinds.parameters(self.facts.kind, effort, selector)
        )[1]
        return positions

    def extended(self, index: Any, portions: Iterator[tuple[list[int], Matrix]]) -> "TrainedIndex":
        """
        Return an index with more vectors, without training it again.

        :param index: A copy of the FAISS index that can be written to.
        :param portions: Rows and vectors to add.
        """
        rows = [self.rows]
        for added, vectors in portions:
            index.add(prepare(vectors, self.facts.similarity))
            rows.append(np.array(added, dtype=np.int64))
        together = np.concatenate(rows)
        alive = np.concatenate([self.alive, np.ones(together.size - self.rows.size, dtype=np.bool_)])
        return TrainedIndex(index, together, alive, self.facts)

    @classmethod
    def build(cls, database: Database, kind: str, similarity: str) -> "TrainedIndex":
        """
        Build an index of all vectors; belongs into a snapshot.

        :param database: The source of truth.
        :param kind: A kind but `auto`.
        :param similarity: `cosine`, `dot_product` or `l2`.
        """
        rows = database.vectors.rows()
        rng = np.random.default_rng(_SEED)
        sample = np.sort(rng.choice(rows, kinds.sample_size(kind, rows.size), replace=False))
        vectors = prepare(np.concatenate([part for _, part in database.vectors.of(sample.tolist())]), similarity)
        index = kinds.make(kind, vectors.shape[1], similarity, rows.size)
        index.train(vectors)
        chosen = np.sort(rng.choice(rows, min(_QUERIES, rows.size), replace=False))
        queries = np.concatenate([part for _, part in database.vectors.of(chosen.tolist())])
        exact = None if kind == "flat" else Nearest(prepare(queries, similarity), similarity, MEASURED_AT)
        for added, part in database.vectors.of(None):
            prepared = prepare(part, similarity)
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
            recall = exact.share_in(list(rows))
            self.facts = replace(self.facts, effort=effort, recall=round(recall, 4))
            if self.facts.recall >= WANTED_RECALL:
                break
        return self


def _among(rows: Rows, chosen: Rows) -> npt.NDArray[np.bool_]:
    """Whether each row is chosen; by a table, as both can have a million entries and the answer is due in a millisecond."""
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
