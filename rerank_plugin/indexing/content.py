"""A file to index: opening it safely, fingerprinting its content, and checking that it matches its extension."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rerank_plugin.components.converters.encoding import decode
from rerank_plugin.components.converters.types import BY_SUFFIX, FileType, file_type
from rerank_plugin.errors import InputFileError

CORPUS_SUFFIX = ".jsonl"
SUFFIXES = (*BY_SUFFIX, CORPUS_SUFFIX)
# Files other than corpora are converted as a whole, which keeps several copies of the text in memory.
MAX_FILE_BYTES = 128 << 20

_CHUNK_BYTES = 1 << 20
# By the specification's implementation notes, other bytes may stand before the header.
_PDF_HEADER_WITHIN = 1024
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FingerprintedReader:
    """
    Reads a file and hashes the bytes that were read.

    :param path: Its path, for messages.
    :param file: The file, opened in binary mode.
    :param salt: The indexing configuration, included in the hash.
    """

    def __init__(self, path: Path, file: BinaryIO, salt: str) -> None:
        self._path = path
        self._file = file
        self._hash = hashlib.sha256(salt.encode())
        self.size = 0

    def readline(self, size: int = -1, /) -> bytes:
        """
        Return the next line with its line end; empty at the end of the file.

        :param size: Maximum number of bytes.
        """
        return self._noted(self._file.readline, size)

    def read(self, size: int = -1, /) -> bytes:
        """
        Return the next bytes; empty at the end of the file.

        :param size: Maximum number of bytes; -1 for all.
        """
        return self._noted(self._file.read, size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the salt and the bytes read so far: 64 hexadecimal digits."""
        return self._hash.hexdigest()

    def _noted(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            data = read(size)
        except OSError as error:  # only here: what else fails while the file is open is not the file's fault
            raise _unreadable(self._path, error) from error
        self._hash.update(data)
        self.size += len(data)
        return data


@dataclass(frozen=True)
class LoadedContent:
    """
    The content of a file.

    :param data: Its bytes; those of a text in UTF-8, without a byte order mark.
    :param fingerprint: The fingerprint of the file.
    :param size: The size of the file in bytes.
    :param assumed_encoding: The encoding of a text that does not say it and is not UTF-8; empty otherwise.
    """

    data: bytes
    fingerprint: str
    size: int
    assumed_encoding: str = ""


@dataclass(frozen=True)
class SourceFile:
    """
    A file to index.

    :param path: Absolute path.
    """

    path: Path

    @property
    def source(self) -> str:
        """The path as a string, as in the `meta["source"]` of its passages."""
        return str(self.path)

    @property
    def type(self) -> FileType:
        """The type of a file that is not a corpus."""
        kind = file_type(self.path)
        assert kind is not None, "files of other types are not listed"
        return kind

    @property
    def is_corpus(self) -> bool:
        """Whether it is a corpus in BEIR format: read line by line, each line one passage that is not split."""
        return self.path.suffix.lower() == CORPUS_SUFFIX

    @contextmanager
    def open(self, salt: str) -> Iterator[FingerprintedReader]:
        """
        Open the file, checking that it is still a regular file.

        :param salt: The indexing configuration, part of the fingerprint.
        :raises InputFileError: If it cannot be opened or read, or is not a regular file.
        """
        try:
            # O_NONBLOCK: otherwise opening a named pipe waits for a writer.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            file = os.fdopen(descriptor, "rb", buffering=_CHUNK_BYTES)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        with file:
            kind = irregular_kind(os.fstat(descriptor).st_mode)
            if kind:
                raise InputFileError(f"{self.path} is {kind}: only regular files can be indexed")
            yield FingerprintedReader(self.path, file, salt)

    def size(self) -> int | None:
        """Return the size in bytes, `None` if it cannot be determined."""
        try:
            return self.path.stat().st_size
        except OSError:
            return None

    def fingerprint(self, salt: str) -> str:
        """
        Hash the whole file.

        :param salt: The indexing configuration.
        :raises InputFileError: If the file cannot be read.
        """
        with self.open(salt) as reader:
            while reader.read(_CHUNK_BYTES):
                pass
            return reader.fingerprint

    def read(self, salt: str) -> LoadedContent:
        """
        Read a file that is not a corpus, and bring text to UTF-8.

        :param salt: The indexing configuration.
        :raises InputFileError: If the file cannot be read, is too large, or is a binary file with the extension of a text.
        """
        with self.open(salt) as reader:
            data = reader.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise InputFileError(
                    f"{self.path} is larger than {MAX_FILE_BYTES >> 20} MiB: split it, or convert it to a .jsonl corpus, "
                    "which is read line by line"
                )
            fingerprint, size = reader.fingerprint, reader.size
        if self.type.name == "pdf" and b"%PDF-" not in data[:_PDF_HEADER_WITHIN]:
            raise InputFileError(f"{self.path} is not a PDF file, despite its extension: check the file")
        if not self.type.is_text:
            return LoadedContent(data, fingerprint, size)
        try:
            decoded = decode(data, is_markup=self.type.name == "html")
        except InputFileError as error:
            raise InputFileError(f"{self.path} {error}") from None
        # The surrogates that UTF-16 may hold alone cannot be written.
        data = decoded.text.encode("utf-8", errors="replace")
        return LoadedContent(data, fingerprint, size, decoded.encoding if decoded.is_assumed else "")


def _unreadable(path: Path, error: OSError) -> InputFileError:
    """
    Return the error that says that a file cannot be read.

    :param path: The file.
    :param error: What the system says.
    """
    return InputFileError(f"{path} cannot be read: {error.strerror}")


def irregular_kind(mode: int) -> str | None:
    """
    Return the kind of a file that is not a regular file.

    :param mode: `st_mode` of its status.
    :returns: The kind in words, `None` for a regular file.
    """
    if stat.S_ISREG(mode):
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "not a regular file")
