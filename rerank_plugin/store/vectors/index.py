"""The vector index of a store: a trained index for large collections, and a flat index of the vectors added since."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerank_plugin.errors import StoreError
from rerank_plugin.store.derived import Hit, Rows
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.vectors import kinds
from rerank_plugin.store.vectors.files import VectorFiles
from rerank_plugin.store.vectors.flat import FlatIndex
from rerank_plugin.store.vectors.similarity import Nearest, compare, prepare, scores
from rerank_plugin.store.vectors.trained import OVERSAMPLING, TrainedIndex, writable

logger = logging.getLogger(__name__)

# Up to this many allowed rows, their vectors are compared one by one: exact, and as fast as an approximate index that must
# skip most of its candidates.
_MAX_EXACT_ROWS = 20_000
# A trained index is brought up to date when the flat index, or the number of deleted vectors, has reached this share of it.
_STALE_SHARE = 0.2
_STALE_LEAST = 20_000
# With `auto`, a query triggers the first training only once there are this many times the vectors that exact search is fast
# for: the writing process will close the store, and trains the index then.
_PATIENCE = 2
# When a store is closed the threshold is lower, as no query is waiting.
_STALE_SHARE_ON_CLOSE = 0.02
# Once the collection has grown by this factor since training, the cells are too full.
_RETRAIN_FACTOR = 4
_SEED = 11


class VectorIndex:
    """
    Searches for the rows with the most similar vectors.

    Vectors written since the trained index was built are kept in a flat index beside it, so that they can be found
    immediately. Every score is exact: the trained index only supplies candidates.
    """

    def __init__(self, similarity: str, kind: str = "auto", folder: Path | None = None) -> None:
        """
        Nothing is read or built before the first `sync`.

        :param similarity: `cosine`, `dot_product` or `l2`.
        :param kind: One of `settings.VECTOR_INDEXES`.
        :param folder: Folder for a trained index; None to keep it in memory.
        """
        self._similarity = similarity
        self._requested = kind
        self._files = None if folder is None else VectorFiles(folder)
        self._database: Database | None = None
        self._forget()

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._rest) + (0 if self._trained is None else len(self._trained))

    def _forget(self) -> None:
        self._counter = 0
        self._trained: TrainedIndex | None = None
        self._rest = FlatIndex(self._similarity)

    def reset(self) -> None:
        """Discard the index in memory; the next `sync` verifies the files again before it uses them."""
        self._forget()
        if self._files is not None:
            self._files.distrust()

    def sync(self, database: Database) -> None:
        """
        Replay the changes made since the last call, and train an index where it is overdue.

        :param database: The source-of-truth database.
        :raises IndexFormatError: If a newer version wrote the files.
        """
        if self._database is database and database.changes.counter == self._counter:
            return  # the usual case before a query
        self._replay(database, patience=_PATIENCE)
        self._bring_up_to_date(database, patience=_PATIENCE, share=_STALE_SHARE, least=_STALE_LEAST)

    def complete(self, database: Database) -> None:
        """
        Bring the files up to date, so that the next process opens them with little to replay.

        :param database: The source-of-truth database.
        :raises IndexFormatError: If a newer version wrote the files.
        """
        self._replay(database)
        self._bring_up_to_date(database, patience=1, share=_STALE_SHARE_ON_CLOSE, least=kinds.TRAINED_FROM)

    def _replay(self, database: Database, *, patience: int = 1) -> None:
        self._database = database
        if database.changes.counter == self._counter:
            return
        with database.snapshot():
            counter = database.changes.counter
            if self._counter == 0:
                self._open(database)
                if self._trained is None and self._choose(database.vectors.count(), patience).kind != "flat":
                    self._build(database)
            since = database.changes.replayable(self._counter)
            if since == 0:
                self._forget()
            else:
                changed = database.changes.rows_since(since)
                self._rest.remove(changed)
                if self._trained is not None:
                    self._trained.mark_deleted(changed)
            for rows, vectors in database.vectors.since(since):
                self._rest.add(rows, vectors)
            self._counter = counter

    def _open(self, database: Database) -> None:
        if self._files is None:
            return
        loaded = self._files.load(database, self._choose(database.vectors.count()).kind, self._similarity)
        if loaded is not None:
            self._trained, self._counter = loaded

    def _choose(self, count: int, patience: int = 1) -> kinds.Choice:
        return kinds.choose(self._requested, count // patience if self._requested == "auto" else count)

    def _build(self, database: Database) -> None:
        """Build a trained index of all vectors. Call inside a snapshot."""
        choice = self._choose(database.vectors.count())
        logger.info("Building the vector index %s: %s", choice.kind, choice.reason)
        self._use(TrainedIndex.build(database, choice.kind, self._similarity), database)

    def _use(self, built: TrainedIndex, database: Database) -> None:
        """Save an index that is complete as of the current snapshot, and use it from now on."""
        counter = database.changes.counter
        if self._files is not None:
            try:
                self._files.save(built, database, counter)
            except StoreError as error:
                logger.warning("The vector index stays in memory, as it cannot be saved: %s", error)
        self._forget()
        self._trained, self._counter = built, counter

    def _bring_up_to_date(self, database: Database, *, patience: int, share: float, least: int) -> None:
        count, current, is_flat = len(self), self._trained, self._is_flat
        target = self._choose(count, patience if is_flat else 1).kind
        if target == "flat" and not is_flat:  # the collection has shrunk
            self._forget()
            self._replay(database)
            return
        # A flat index needs no file to be searched: its file is written when the store is closed.
        if target == "flat" and (patience > 1 or self._files is None or count < kinds.FLAT_FILE_FROM):
            return
        same = current if current is not None and current.facts.kind == target else None
        if same is not None and max(len(self._rest), same.deleted_count) <= max(least, int(share * len(same))):
            return
        with database.snapshot():
            if same is not None and self._can_be_extended(same):
                # Changes by other processes since the last replay are in neither index yet.
                self._replay(database)
            else:
                same = None
            if same is not None and self._trained is same:
                self._use(self._extend(same, database), database)
            else:  # also where the replay had to start from nothing, and left no trained part to extend
                self._build(database)
        self._replay(database)

    @property
    def _is_flat(self) -> bool:
        return self._trained is None or self._trained.facts.kind == "flat"

    def _can_be_extended(self, current: TrainedIndex) -> bool:
        return (
            current.deleted_count <= _STALE_SHARE * len(current) and len(self) <= _RETRAIN_FACTOR * current.facts.trained_on
        )

    def _extend(self, current: TrainedIndex, database: Database) -> TrainedIndex:
        rows = self._rest.rows.tolist()
        loaded = None
        if self._files is not None:
            loaded = self._files.load(database, current.facts.kind, self._similarity, mapped=False)
        # If another process has replaced the files since this one opened them, extend a copy of the index in memory.
        if loaded is not None and np.array_equal(loaded[0].rows, current.rows):
            return current.extended(loaded[0].index, database.vectors.of(rows))
        return current.extended(writable(current.index), database.vectors.of(rows))

    def describe(self) -> dict[str, Any]:
        """Return the kind in use and the reason, the number of vectors, and how many of them are in the trained index."""
        choice, trained = self._choose(len(self)), 0 if self._is_flat else len(self) - len(self._rest)
        if choice.kind != "flat" and self._is_flat:
            choice = kinds.Choice("flat", f"{choice.kind} will be built when the store is closed ({choice.reason})")
        return {"kind": choice.kind, "reason": choice.reason, "vectors": len(self), "trained": trained}

    def recall(self, limit: int, queries: int) -> float | None:
        """
        Return the recall@limit of searches against exact search, with stored vectors as queries.

        :param limit: Number of hits per query.
        :param queries: Number of stored vectors to sample as queries.
        :returns: The recall from 0 to 1; None if there are no vectors.
        """
        database = self._database
        rows = np.empty(0, dtype=np.int64) if database is None else database.vectors.rows()
        if database is None or not rows.size:
            return None
        chosen = np.random.default_rng(_SEED).choice(rows, min(queries, rows.size), replace=False)
        sample = np.concatenate([vectors for _, vectors in database.vectors.of(np.sort(chosen).tolist())])
        exact = Nearest(prepare(sample, self._similarity), self._similarity, limit)
        for batch, vectors in database.vectors.of(None):
            exact.add(np.array(batch, dtype=np.int64), prepare(vectors, self._similarity))
        searches = [self.search(query.astype(np.float64), limit, None) for query in sample]
        return exact.recall_of([np.array([hit.row for hit in hits], dtype=np.int64) for hits in searches])

    def search(self, query: npt.NDArray[np.float64], limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows with the most similar vectors.

        :param query: The query vector, of the same length as the vectors in the index.
        :param limit: Maximum number of hits; fewer are returned only if no more rows match.
        :param allowed: The rows that may be returned; None for all.
        :returns: Hits, best first: score is the cosine, the dot product, or 1 / (1 + squared distance) for `l2`.
        """
        prepared = prepare(query[np.newaxis], self._similarity)[0]
        hits = self._rest.search(prepared, limit, allowed)
        if self._trained is not None and len(self._trained):
            hits += self._search_trained(self._trained, prepared, limit, allowed)
            hits.sort(key=lambda hit: -hit.score)
        return hits[:limit]

    def _search_trained(
        self, trained: TrainedIndex, query: npt.NDArray[np.float32], limit: int, allowed: Rows | None
    ) -> list[Hit]:
        mask = trained.mask(allowed)
        count = int(np.count_nonzero(mask))
        if allowed is None or count > _MAX_EXACT_ROWS:
            candidates = trained.candidates(query, limit * OVERSAMPLING, mask)
            # With a selector an approximate index may return too few hits; then all allowed rows are compared.
            if candidates.size >= min(limit, count):
                return self._exact(query, candidates, limit)
        return self._exact(query, trained.rows[mask], limit)

    def _exact(self, query: npt.NDArray[np.float32], rows: Rows, limit: int) -> list[Hit]:
        assert self._database is not None
        best: list[Hit] = []
        for batch, vectors in self._database.vectors.of(np.sort(rows).tolist()):
            values = compare(query, prepare(vectors, self._similarity), self._similarity)
            best += [Hit(*pair) for pair in zip(batch, scores(values, self._similarity).tolist(), strict=True)]
            best = sorted(best, key=lambda hit: -hit.score)[:limit]
        return best
