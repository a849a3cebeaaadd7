"""
The files of a derived index: where they are, which generation is current, and whether they are intact.

A folder holds `state.json` and one subfolder per generation. A new generation is written completely before `state.json`,
replaced atomically, names it; a crash in between leaves the previous generation current. Every generation contains a
marker file, and only folders with a marker, or named by one of our states, are ever deleted.
"""

import json
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rerank_plugin.errors import BusyError, IndexFormatError, StoreError
from rerank_plugin.files import replace_file
from rerank_plugin.locks import acquire_lock, holder_of
from rerank_plugin.store.derived import DamagedIndexError
from rerank_plugin.store.failures import environment_failure
from rerank_plugin.store.sqlite.connection import is_writable
from rerank_plugin.store.sqlite.database import Database

STATE = "state.json"
MARKER = "rerank-plugin.json"
LOCK = "build.lock"

_GENERATION = "generation-"
_LEFT_OVERS = re.compile(rf"{re.escape(LOCK)}|\.{STATE}\.[0-9a-f]+\.tmp")
_CHUNK = 1 << 20
# Building an index of ten million passages takes some minutes; other processes that need it wait for it.
_PATIENCE_SECONDS = 900.0


class DerivedFiles:
    """The folder of one derived index."""

    def __init__(self, folder: Path, what: str, format_version: int) -> None:
        """
        Nothing is read or created yet.

        :param folder: The folder.
        :param what: What it holds, for messages: "the keyword index".
        :param format_version: The format that is written, and the newest that can be read.
        """
        self.folder = folder
        self.what = what
        self._format = format_version
        self._verified: dict[Path, tuple[tuple[int, int, int], int]] = {}

    @property
    def can_be_written(self) -> bool:
        """Whether files can be created in the folder, or the folder itself if it does not exist."""
        place = self.folder
        while not place.exists() and place != place.parent:
            place = place.parent
        return is_writable(place)

    def read_state(self) -> dict[str, Any] | None:
        """
        Return the state last written by `publish`; None if there is none, or only one of an earlier format.

        :raises IndexFormatError: If a newer version wrote it.
        :raises DamagedIndexError: If it is damaged.
        :raises StoreError: If it cannot currently be read.
        """
        path = self.folder / STATE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            version = int(state["format"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            self.refuse_environment(error)
            raise DamagedIndexError(f"{path} cannot be read: {error}") from error
        if version > self._format:
            raise IndexFormatError(
                f"{path} has format {version}, this version reads up to {self._format}: upgrade rerank-plugin, or delete "
                f"{self.folder} to have {self.what} built again from the documents"
            )
        if version < self._format:
            return None
        checksum = state.pop("checksum", None)
        if checksum != _checksum(state):
            raise DamagedIndexError(f"{path} is damaged: its checksum differs")
        return dict(state)

    def usable_state(self, database: Database) -> dict[str, Any] | None:
        """
        Return the state, if its generation was derived from this database and can be brought up to date by a replay.

        :param database: The source-of-truth database.
        :returns: None if the index must be rebuilt: it belongs to another index, or its change is not in the changelog.
        :raises StoreError: As `read_state`.
        """
        state = self.read_state()
        if state is None or state["index_id"] != database.settings.index_id:
            return None
        return state if database.changes.replayable(int(state["counter"])) else None

    def verify(self, files: Mapping[Path, int]) -> None:
        """
        Check the checksums of files. A file is read once, and again only after it has changed.

        This takes about a second per gigabyte: 0.1 s for the keyword index of a million passages.

        :param files: Paths, and the CRC-32 of their contents.
        :raises DamagedIndexError: If a file is missing or its checksum differs.
        :raises StoreError: If a file cannot currently be read.
        """
        for path, expected in files.items():
            if self.checksum_of(path) != expected:
                raise DamagedIndexError(f"{path} is damaged: its checksum differs")

    def checksum_of(self, path: Path, *, without: int = 0) -> int:
        """
        Return the CRC-32 of a file.

        :param path: The file.
        :param without: Number of bytes at the end to leave out.
        :raises DamagedIndexError: If the file is missing or cannot be read.
        :raises StoreError: If it cannot currently be read, for a reason outside the index.
        """
        try:
            stat = path.stat()
            identity = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
            known = self._verified.get(path)
            if known is None or known[0] != identity:
                self._verified[path] = known = (identity, _crc32(path, stat.st_size - without))
        except OSError as error:
            self.refuse_environment(error)
            raise DamagedIndexError(f"{path} cannot be read: {error}") from error
        return known[1]

    def distrust(self) -> None:
        """Forget all verified checksums, so that the next `verify` reads every file again."""
        self._verified.clear()

    def refuse_environment(self, error: BaseException) -> None:
        """
        Raise a StoreError if an error was caused by the environment and not by the files; otherwise return.

        :param error: The error raised by a library.
        :raises StoreError: On too many open files, a full disk or missing permission; the index is left unchanged.
        """
        remedy = environment_failure(error)
        if remedy is not None:
            raise StoreError(f"{self.what} in {self.folder} cannot currently be used ({error}): {remedy}") from error

    @contextmanager
    def building(self) -> Iterator[None]:
        """
        Let one process at a time add generations and delete old ones; the lock dies with its process.

        :raises BusyError: If another process has been at it for a quarter of an hour.
        :raises StoreError: If the folder holds something that is not ours, or cannot be made.
        """
        self._check_ours()
        file = self.folder / LOCK
        try:
            lock = acquire_lock(file, wait=_PATIENCE_SECONDS)
        except OSError as error:
            self.refuse_environment(error)
            raise StoreError(
                f"{self.what} cannot be kept in {self.folder} ({error}): make the folder writable, or move the file of that "
                "name away"
            ) from error
        if lock is None:
            raise BusyError(
                f"{holder_of(file)} has been building {self.what} in {self.folder} for more than {_PATIENCE_SECONDS / 60:g} "
                "minutes: wait until it is done, or end it"
            )
        with lock:
            yield

    def new_generation(self, database: Database) -> Path:
        """
        Create an empty generation with its marker. Call inside `building`.

        :param database: The database it will be derived from.
        """
        folder = self.folder / f"{_GENERATION}{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        marker = {"made_by": "rerank-plugin", "what": self.what, "index_id": database.settings.index_id}
        (folder / MARKER).write_text(json.dumps(marker), encoding="utf-8")
        return folder

    def publish(self, generation: str, database: Database, counter: int, state: Mapping[str, Any]) -> None:
        """
        Make a generation the current one, or update the change counter of the current one.

        :param generation: Its name.
        :param database: The database that it was derived from.
        :param counter: Number of the change up to which it is complete.
        :param state: Further values to store with it.
        """
        derived_from = {"index_id": database.settings.index_id, "counter": counter}
        content = {"format": self._format, "generation": generation, **derived_from, **state}
        with replace_file(self.folder / STATE) as file:
            json.dump({**content, "checksum": _checksum(content)}, file)

    def remove_others(self, generation: str | None) -> None:
        """
        Delete all generations but one. Call inside `building`.

        Where the system forbids deleting files that another process has open, they stay until the next run.

        :param generation: The generation to keep.
        """
        for folder in self._generations():
            if folder.name != generation:
                shutil.rmtree(folder, ignore_errors=True)

    def discard(self, generation: str | None) -> None:
        """
        Delete a damaged generation, unless another one has replaced it; the next `sync` builds a new one.

        :param generation: What `named` returned before the damage was detected.
        """
        with suppress(OSError, StoreError), self.building():
            if self.named() == generation:
                (self.folder / STATE).unlink(missing_ok=True)
                self.remove_others(None)
        self.distrust()

    def named(self) -> str | None:
        """Return the generation that the state names, even if the state is damaged or of an earlier format."""
        with suppress(OSError, ValueError, AttributeError, RecursionError):
            state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
            if "format" in state and "index_id" in state:
                name = state.get("generation", state.get("place"))  # the name in earlier formats
                if isinstance(name, str) and name and Path(name).name == name:
                    return name
        return None

    def _generations(self) -> list[Path]:
        """Return the subfolders that this package created."""
        if not self.folder.is_dir():
            return []
        named = self.named()
        folders = [entry for entry in self.folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
        return [folder for folder in folders if folder.name == named or _is_marked(folder)]

    def _check_ours(self) -> None:
        """
        Check that the folder is empty, or was created by this package.

        :raises StoreError: If it holds other files; none of them is touched.
        """
        try:
            names = sorted(entry.name for entry in self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return  # a file of that name is reported when the folder is created
        except OSError as error:
            self.refuse_environment(error)
            raise StoreError(f"{self.folder} cannot be read: {error}") from error
        if self._generations() or self.named():
            return
        foreign = [name for name in names if not _LEFT_OVERS.fullmatch(name) and not self._is_empty_generation(name)]
        if foreign:
            raise StoreError(
                f"{self.folder} holds {foreign[0]!r}, which {self.what} did not make: move it away or, if it is all that is "
                "left of a damaged index, delete it; nothing was deleted, and the documents are safe"
            )

    def _is_empty_generation(self, name: str) -> bool:
        """Whether a subfolder was left by a process that was killed before it wrote the marker."""
        folder = self.folder / name
        return name.startswith(_GENERATION) and folder.is_dir() and all(e.name == MARKER for e in folder.iterdir())


def _is_marked(folder: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return isinstance(marker, dict) and marker.get("made_by") == "rerank-plugin"
    return False


def _checksum(state: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(state, sort_keys=True).encode())


def _crc32(path: Path, size: int) -> int:
    crc = 0
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(_CHUNK, size))):
            crc = zlib.crc32(part, crc)
            size -= len(part)
    return crc
