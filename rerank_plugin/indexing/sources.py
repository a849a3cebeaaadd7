"""Files that can be indexed: find them, check them, read them."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.collections.beir import BeirDataset, is_beir_folder
from rerank_plugin.errors import InputFileError

BEIR_TYPE = "application/jsonl"
MIME_TYPES = {
    ".txt": "text/plain",
    ".text": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".pdf": "application/pdf",
    ".jsonl": BEIR_TYPE,
}
HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """
    A file to index.

    :param path: Absolute path.
    """

    path: Path

    @property
    def mime_type(self) -> str:
        """The type by the file's ending; `application/jsonl` is a corpus in BEIR form."""
        return MIME_TYPES[self.path.suffix.lower()]

    def digest(self, salt: str) -> str:
        """
        Hash the content.

        :param salt: Hashed along: how the file is going to be indexed.
        :returns: 64 hexadecimal digits.
        :raises InputFileError: If the file cannot be read.
        """
        digest = hashlib.sha256(salt.encode())
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(HASH_CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise InputFileError(f"{self.path} cannot be read: {error.strerror}") from error
        return digest.hexdigest()

    def read(self) -> bytes:
        """
        Read the content of a text, Markdown, HTML or PDF file and check that it is what its ending says.

        :returns: The content.
        :raises InputFileError: If the file cannot be read, is binary, or is not UTF-8.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputFileError(f"{self.path} cannot be read: {error.strerror}") from error
        if self.mime_type == "application/pdf":
            if not data.lstrip().startswith(b"%PDF-"):
                raise InputFileError(f"{self.path} is no PDF file, whatever its ending says: check the file")
        elif b"\0" in data:
            raise InputFileError(f"{self.path} is a binary file, not text: check the file, or leave it out")
        elif self.mime_type != "text/html":  # HTML may declare an encoding of its own
            try:
                data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise InputFileError(
                    f"{self.path} is not UTF-8 text (byte {error.start}): convert it, for example with iconv"
                ) from None
        return data

    def title(self, data: bytes) -> str:
        """
        Find a title: the first heading of Markdown, the title element of HTML, else the name of the file.

        :param data: The content.
        :returns: The title.
        """
        pattern = {"text/markdown": r"^#\s+(.+?)\s*#*\s*$", "text/html": r"<title[^>]*>(.*?)</title>"}.get(self.mime_type)
        if pattern:
            text = data.decode("utf-8", errors="ignore")
            found = re.search(pattern, text, flags=re.MULTILINE if self.mime_type == "text/markdown" else re.S | re.I)
            if found and found[1].strip():
                return " ".join(found[1].split())
        return self.path.stem


def find_sources(paths: Iterable[Path]) -> list[SourceFile]:
    """
    Find the files to index. Of a folder in BEIR layout it is the corpus alone; other folders are walked, and files of
    other types and hidden ones in them are passed over.

    :param paths: Files and folders.
    :returns: The files, each once, in a fixed order.
    :raises InputFileError: If a path does not exist, or is a file of a type that cannot be indexed.
    """
    found: dict[Path, SourceFile] = {}
    for path in paths:
        given = path.expanduser()
        if not given.exists():
            raise InputFileError(f"{given} does not exist: check the path")
        if given.is_file() and given.suffix.lower() not in MIME_TYPES:
            raise InputFileError(f"{given} has a type that cannot be indexed: give one of {', '.join(MIME_TYPES)}")
        for file in _walk(given):
            # A broken link keeps its own name: the one that the error has to tell.
            absolute = file.resolve() if file.exists() else file.absolute()
            found[absolute] = SourceFile(absolute)
    return list(found.values())


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    elif is_beir_folder(path):
        yield BeirDataset(path).corpus_file
    else:
        try:
            entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            raise InputFileError(f"{path} cannot be listed: {error.strerror}") from error
        for entry in entries:
            if entry.is_dir():
                # A link to a folder above would lead round in circles.
                yield from () if entry.is_symlink() else _walk(entry)
            elif entry.suffix.lower() in MIME_TYPES:
                yield entry
