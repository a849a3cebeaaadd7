"""A trained index on disk: the FAISS index, the row of each vector, and which vectors are marked as deleted."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rerank_plugin.errors import StoreError
from rerank_plugin.store.derived import DamagedIndexError
from rerank_plugin.store.derived_files import DerivedFiles
from rerank_plugin.store.failures import environment_failure
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.vectors.trained import Trained, TrainedIndex

logger = logging.getLogger(__name__)

FORMAT = 2

_INDEX, _ROWS, _ALIVE = "index.faiss", "rows.npy", "alive.npy"
_ATTEMPTS = 3


class VectorFiles:
    """The folder of one kind of vector index."""

    def __init__(self, folder: Path) -> None:
        """
        Nothing is read or created yet.

        :param folder: The folder.
        """
        self._files = DerivedFiles(folder, "the vector index", FORMAT)

    def save(self, index: TrainedIndex, database: Database, counter: int) -> None:
        """
        Write an index and make it the current generation.

        :param index: The index.
        :param database: The database that it was built from.
        :param counter: Number of the change up to which it is complete.
        :raises StoreError: If it cannot be written, or the folder holds files of other origin.
        """
        import faiss

        with self._files.building(), self._explained("written"):
            generation = self._files.new_generation(database)
            try:
                faiss.write_index(index.index, str(generation / _INDEX))
                np.save(generation / _ROWS, index.rows)
                np.save(generation / _ALIVE, index.alive)
                checksums = {name: self._files.checksum_of(generation / name) for name in (_INDEX, _ROWS, _ALIVE)}
                self._files.publish(generation.name, database, counter, {"files": checksums, **asdict(index.facts)})
            finally:
                self._files.remove_others(self._files.named())

    def load(
        self, database: Database, kind: str, similarity: str, *, mapped: bool = True
    ) -> tuple[TrainedIndex, int] | None:
        """
        Open the current generation; a damaged one is deleted.

        :param database: The source-of-truth database.
        :param kind: The required kind.
        :param similarity: The required similarity.
        :param mapped: Memory-map the vectors where FAISS can; no vectors can be added to such an index.
        :returns: The index and the number of the change up to which it is complete; None if it must be rebuilt.
        :raises IndexFormatError: If a newer version wrote the files.
        :raises StoreError: If they cannot currently be read.
        """
        for _ in range(_ATTEMPTS):
            present = self._files.named()
            try:
                return self._load(database, kind, similarity, mapped=mapped)
            except DamagedIndexError as error:
                if self._files.named() != present:
                    continue  # another process has just replaced it
                logger.warning("The vector index is damaged and will be built again: %s", error)
                self._files.discard(present)
                return None
        return None

    def distrust(self) -> None:
        """Forget all verified checksums, so that the next `load` reads every file again."""
        self._files.distrust()

    def _load(self, database: Database, kind: str, similarity: str, *, mapped: bool) -> tuple[TrainedIndex, int] | None:
        import faiss

        state = self._files.usable_state(database)
        if state is None:
            return None
        facts = Trained(**{name: state[name] for name in Trained.__dataclass_fields__})
        if (facts.kind, facts.similarity) != (kind, similarity):
            return None
        folder = self._files.folder / state["generation"]
        self._files.verify({folder / name: checksum for name, checksum in state["files"].items()})
        with self._explained("read"):
            index = faiss.read_index(str(folder / _INDEX), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
            rows, alive = np.load(folder / _ROWS), np.load(folder / _ALIVE)
        if not index.ntotal == rows.size == alive.size:
            raise DamagedIndexError(f"{folder} holds {index.ntotal} vectors, {rows.size} rows and {alive.size} marks")
        return TrainedIndex(index, rows, alive, facts), int(state["counter"])

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn library errors into a StoreError if the environment caused them, else into a DamagedIndexError."""
        try:
            yield
        except StoreError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
            message = f"the vector index in {self._files.folder} cannot be {verb}: {error}"
            remedy = environment_failure(error)
            if remedy is not None:
                raise StoreError(f"{message}: {remedy}") from error
            raise DamagedIndexError(message) from error
