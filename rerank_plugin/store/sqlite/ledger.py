"""
The ledger, a file beside the database that records the last acknowledged change: `documents.ledger`.

SQLite cannot detect that its write-ahead log was deleted or truncated, that a file was replaced by an older copy, or that a
bit in a text has flipped. The ledger records the last acknowledged change, and the state of the file when it was last
closed. A database that is behind its ledger is an error; a database whose file was changed by anything but this package,
for example copied, is fully verified once.

The ledger is written after a commit and not synced, so it costs very little: after a power failure it may be behind the
database, but never ahead of it.
"""

import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rerank_plugin.errors import IndexFormatError
from rerank_plugin.store.sqlite.connection import log_file

FORMAT = 1
# Always written in one write of fixed size, so that a reader sees one version or the next.
_SIZE = 256
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Entry:
    """
    The content of the ledger.

    :param index_id: The id of the index.
    :param counter: Number of the last acknowledged change.
    :param inode: Inode of the database file, which a copy does not share.
    :param size: Size of the file in bytes when it was closed; None while it is open.
    :param modified: Modification time when it was closed, in nanoseconds.
    """

    index_id: str
    counter: int
    inode: int
    size: int | None = None
    modified: int | None = None


class Ledger:
    """The ledger of one database file."""

    def __init__(self, file: Path) -> None:
        """
        Nothing is read yet.

        :param file: The database.
        """
        self._file = file
        self._path = ledger_file(file)

    def read(self) -> Entry | None:
        """
        Return the content of the ledger, None if there is none or it is damaged.

        :raises OSError: If it cannot currently be read.
        :raises IndexFormatError: If a newer version wrote it.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            checksum, _, text = data.decode("utf-8").partition(" ")
            if int(checksum) != zlib.crc32(text.strip().encode()):
                return None
            entry = json.loads(text)
            written_in = entry.pop("format")
        except (ValueError, KeyError, AttributeError):
            return None
        if written_in > FORMAT:
            raise IndexFormatError(
                f"{self._path} has format {written_in}, this version reads up to {FORMAT}: upgrade rerank-plugin"
            )
        return Entry(**entry)

    def acknowledge(self, index_id: str, counter: int) -> None:
        """
        Record that a change is durable.

        :param index_id: The id of the index.
        :param counter: Number of the change.
        """
        with suppress(OSError, IndexFormatError):  # the change is stored: a newer version's ledger is left to that version
            inode = self._file.stat().st_ino
            known = self.read()
            # Another process may have recorded a later change.
            if known is None or (known.index_id, known.inode) != (index_id, inode) or known.counter < counter:
                self._write(Entry(index_id, counter, inode))

    def note_closed(self, index_id: str) -> None:
        """
        Record the state of the file, if no process has it open any longer.

        :param index_id: The id of the index.
        """
        with suppress(OSError, IndexFormatError):
            if log_file(self._file).exists():
                return
            known, status = self.read(), self._file.stat()
            if known is None or (known.index_id, known.inode) != (index_id, status.st_ino):
                return
            closed = replace(known, size=status.st_size, modified=status.st_mtime_ns)
            if closed != known:
                self._write(closed)

    def _write(self, entry: Entry) -> None:
        text = json.dumps({"format": FORMAT, **asdict(entry)})
        line = f"{zlib.crc32(text.encode())} {text}".ljust(_SIZE - 1) + "\n"
        # In place rather than by replacing the file, because this follows every commit.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.pwrite(descriptor, line.encode(), 0)
        finally:
            os.close(descriptor)


def ledger_file(file: Path) -> Path:
    """
    Return the path of the ledger.

    :param file: The database.
    """
    return file.with_suffix(".ledger")


def looks_untouched(file: Path, entry: Entry | None) -> bool:
    """
    Return whether a file is unchanged since this package closed it. Call before the file is opened.

    While it is open, or after a crash, there is a write-ahead log, and size and time cannot be compared.

    :param file: The database.
    :param entry: The content of the ledger.
    """
    if entry is None:
        return False
    try:
        status = file.stat()
    except OSError:
        return False
    if log_file(file).exists() and os.access(file, os.W_OK):
        return status.st_ino == entry.inode
    same_time = entry.modified in (status.st_mtime_ns, None)
    if entry.modified is not None and status.st_mtime_ns % _SECOND == 0:  # as archives and container images keep it
        same_time = status.st_mtime_ns // _SECOND == entry.modified // _SECOND
    is_same_file = status.st_ino == entry.inode or not os.access(file.parent, os.W_OK)
    return is_same_file and entry.size == status.st_size and same_time
