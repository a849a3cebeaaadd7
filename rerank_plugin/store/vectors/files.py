"""
A trained index on disk.

`state.json` names the files of the present index and says up to which change of the database they are complete. The files
are written first and the state is replaced afterwards, so that a crash in between leaves the earlier index.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rerank_plugin.errors import IndexFormatError
from rerank_plugin.store.derived import DamagedIndexError
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.vectors.trained import Trained, TrainedIndex

FORMAT = 1
STATE = "state.json"


def save(index: TrainedIndex, folder: Path, database: Database, counter: int) -> None:
    """
    Write an index and make it the present one.

    :param index: The index.
    :param folder: Where to; made if it is missing.
    :param database: The truth it was built from.
    :param counter: Number of the change up to which it is complete.
    :raises DamagedIndexError: If it cannot be written.
    """
    import faiss

    with _damage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        place = uuid.uuid4().hex[:8]
        faiss.write_index(index.index, str(folder / f"{place}.faiss"))
        np.save(folder / f"{place}.rows.npy", index.rows)
        np.save(folder / f"{place}.alive.npy", index.alive)
        state = {
            "format": FORMAT,
            "index_id": database.settings.index_id,
            "counter": counter,
            "place": place,
            **asdict(index.facts),
        }
        temporary = folder / "state.tmp"
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(folder / STATE)
    for old in folder.iterdir():
        if old.name != STATE and not old.name.startswith(place):
            with suppress(OSError):  # another process may still have it open, and some systems forbid deleting it then
                old.unlink()


def load(
    folder: Path, database: Database, kind: str, similarity: str, *, mapped: bool = True
) -> tuple[TrainedIndex, int] | None:
    """
    Open the present index.

    :param folder: Where it is.
    :param database: The truth.
    :param kind: The kind that is wanted.
    :param similarity: The similarity that is wanted.
    :param mapped: Leave the vectors in the file, where FAISS can; such an index cannot be added to.
    :returns: The index and the number of the change up to which it is complete; None if there is nothing to go on from.
    :raises IndexFormatError: If a newer version wrote the files.
    :raises DamagedIndexError: If the files cannot be read.
    """
    import faiss

    with _damage(folder):
        try:
            state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if state["format"] > FORMAT:
            raise IndexFormatError(
                f"{folder / STATE} has format {state['format']}, this version reads up to {FORMAT}: upgrade rerank-plugin"
            )
        facts = Trained(**{name: state[name] for name in Trained.__dataclass_fields__})
        same = state["index_id"] == database.settings.index_id and (facts.kind, facts.similarity) == (kind, similarity)
        if not same or database.changes.replayable(state["counter"]) == 0:
            return None
        file = str(folder / f"{state['place']}.faiss")
        index = faiss.read_index(file, faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        rows = np.load(folder / f"{state['place']}.rows.npy")
        alive = np.load(folder / f"{state['place']}.alive.npy")
        if not index.ntotal == rows.size == alive.size:
            raise DamagedIndexError(f"{folder} holds {index.ntotal} vectors, {rows.size} rows and {alive.size} marks")
        return TrainedIndex(index, rows, alive, facts), int(state["counter"])


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Turn what FAISS, numpy and json raise about files into one error."""
    try:
        yield
    except (DamagedIndexError, IndexFormatError):
        raise
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise DamagedIndexError(f"the vector index in {folder} cannot be read or written: {error}") from error
