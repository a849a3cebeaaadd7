"""The vector index of a store: a trained index of most vectors where one pays, and a flat one of the rest."""

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

# Up to so many allowed rows, their vectors are read and compared one by one: exact, and as fast as asking an approximate
# index that has to skip nearly everything it meets.
_FEW_ALLOWED = 20_000
# A trained index is brought up to date when the flat part beside it, or what is marked as gone, has grown to this share.
_STALE_SHARE = 0.2
_STALE_LEAST = 20_000
# With `auto`, a query does not wait for the first training before there are so many times as many vectors as exact search
# is fast for: whoever writes them will close the store, and that is the time to train.
_PATIENCE = 2
# At the end of a session it is done sooner, as nobody waits for a query then.
_TIDY_SHARE = 0.02
# Cells that were trained on far fewer vectors than there are now are too full.
_RETRAIN_FACTOR = 4
_SEED = 11


class VectorIndex:
    """
    Finds the rows with the most similar vectors.

    Vectors that were written since the trained index was built stand in a flat index beside it, so that a write is found at
    once. Every score is exact: the trained index only names candidates.
    """

    def __init__(self, similarity: str, kind: str = "auto", folder: Path | None = None) -> None:
        """
        Prepare an index; nothing is read or built before the first `sync`.

        :param similarity: `cosine`, `dot_product` or `l2`.
        :param kind: One of `settings.VECTOR_INDEXES`.
        :param folder: Where a trained index may be kept; None for memory.
        """
        self._similarity = similarity
        self._asked = kind
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
        """Forget everything; the next `sync` opens what is on disk only if it is as it was written."""
        self._forget()
        if self._files is not None:
            self._files.distrust()

    def sync(self, database: Database) -> None:
        """
        Replay what was written since the last call, and train where that cannot wait any longer.

        :param database: The source of truth.
        :raises IndexFormatError: If a newer version wrote the files.
        """
        if self._database is database and database.changes.counter == self._counter:
            return  # as before most queries
        self._replay(database, patience=_PATIENCE)
        self._bring_up_to_date(database, patience=_PATIENCE, share=_STALE_SHARE, least=_STALE_LEAST)

    def complete(self, database: Database) -> None:
        """
        Bring the files up to date, so that the next process opens them with little to replay.

        :param database: The source of truth.
        :raises IndexFormatError: If a newer version wrote the files.
        """
        self._replay(database)
        self._bring_up_to_date(database, patience=1, share=_TIDY_SHARE, least=kinds.TRAINED_FROM)

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
        present = self._files.load(database, self._choose(database.vectors.count()).kind, self._similarity)
        if present is not None:
            self._trained, self._counter = present

    def _choose(self, count: int, patience: int = 1) -> kinds.Choice:
        return kinds.choose(self._asked, count // patience if self._asked == "auto" else count)

    def _build(self, database: Database) -> None:
        """Build a trained index of all vectors; belongs into a snapshot."""
        choice = self._choose(database.vectors.count())
        logger.info("Building the vector index %s: %s", choice.kind, choice.reason)
        self._use(TrainedIndex.build(database, choice.kind, self._similarity), database)

    def _use(self, built: TrainedIndex, database: Database) -> None:
        """Go on with an index that holds everything of the present snapshot."""
        counter = database.changes.counter
        if self._files is not None:
            try:
                self._files.save(built, database, counter)
            except StoreError as error:
                logger.warning("The vector index stays in memory, as it cannot be saved: %s", error)
        self._forget()
        self._trained, self._counter = built, counter

    def _bring_up_to_date(self, database: Database, *, patience: int, share: float, least: int) -> None:
        count, present, is_flat = len(self), self._trained, self._is_flat
        target = self._choose(count, patience if is_flat else 1).kind
        if target == "flat" and not is_flat:  # it has shrunk
            self._forget()
            self._replay(database)
            return
        # A flat index is as good in memory: its file is written when nobody waits.
        if target == "flat" and (patience > 1 or self._files is None or count < kinds.FLAT_FILE_FROM):
            return
        same = present if present is not None and present.facts.kind == target else None
        if same is not None and max(len(self._rest), same.deleted_count) <= max(least, int(share * len(same))):
            return
        with database.snapshot():
            if same is not None and self._can_be_extended(same):
                # What was written by others since the last replay is in neither part yet.
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

    def _can_be_extended(self, present: TrainedIndex) -> bool:
        return (
            present.deleted_count <= _STALE_SHARE * len(present) and len(self) <= _RETRAIN_FACTOR * present.facts.trained_on
        )

    def _extend(self, present: TrainedIndex, database: Database) -> TrainedIndex:
        rows = self._rest.rows.tolist()
        loaded = None
        if self._files is not None:
            loaded = self._files.load(database, present.facts.kind, self._similarity, mapped=False)
        # Another process may have replaced the files since this one opened them; then there is nothing to add to.
        if loaded is not None and np.array_equal(loaded[0].rows, present.rows):
            return present.extended(loaded[0].index, database.vectors.of(rows))
        return present.extended(writable(present.index), database.vectors.of(rows))

    def describe(self) -> dict[str, Any]:
        """Return the kind in use and why, how many vectors there are, and how many of them stand in the trained index."""
        choice, trained = self._choose(len(self)), 0 if self._is_flat else len(self) - len(self._rest)
        if choice.kind != "flat" and self._is_flat:
            choice = kinds.Choice("flat", f"{choice.kind} will be built when the store is closed ({choice.reason})")
        return {"kind": choice.kind, "reason": choice.reason, "vectors": len(self), "trained": trained}

    def recall(self, limit: int, queries: int) -> float | None:
        """
        Compare searches with exact ones.

        :param limit: How many hits of a search are compared.
        :param queries: How many of the vectors are searched for.
        :returns: Share of the exact hits that are found; None if there are no vectors.
        """
        database = self._database
        rows = np.empty(0, dtype=np.int64) if database is None else database.vectors.rows()
        if database is None or not rows.size:
            return None
        chosen = np.random.default_rng(_SEED).choice(rows, min(queries, rows.size), replace=False)
        sample = np.concatenate([vectors for _, vectors in database.vectors.of(np.sort(chosen).tolist())])
        exact = Nearest(prepare(sample, self._similarity), self._similarity, limit)
        for part, vectors in database.vectors.of(None):
            exact.add(np.array(part, dtype=np.int64), prepare(vectors, self._similarity))
        searches = [self.search(query.astype(np.float64), limit, None) for query in sample]
        return exact.share_in([np.array([hit.row for hit in hits], dtype=np.int64) for hits in searches])

    def search(self, query: npt.NDArray[np.float64], limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows with the most similar vectors.

        :param query: The vector to compare with; as long as the vectors in the index.
        :param limit: How many; fewer come back only if no more match.
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
        if allowed is None or count > _FEW_ALLOWED:
            candidates = trained.candidates(query, limit * OVERSAMPLING, mask)
            # A selector can leave an approximate index with too few hits: then all that may be returned are compared.
            if candidates.size >= min(limit, count):
                return self._exact(query, candidates, limit)
        return self._exact(query, trained.rows[mask], limit)

    def _exact(self, query: npt.NDArray[np.float32], rows: Rows, limit: int) -> list[Hit]:
        assert self._database is not None
        best: list[Hit] = []
        for part, vectors in self._database.vectors.of(np.sort(rows).tolist()):
            values = compare(query, prepare(vectors, self._similarity), self._similarity)
            best += [Hit(*pair) for pair in zip(part, scores(values, self._similarity).tolist(), strict=True)]
            best = sorted(best, key=lambda hit: -hit.score)[:limit]
        return best
