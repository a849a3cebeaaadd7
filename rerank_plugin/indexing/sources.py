"""Which files there are to index: folders are walked, links and whatever is no regular file are looked at closely."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rerank_plugin.collections.beir import BeirDataset, is_beir_folder
from rerank_plugin.errors import InputFileError
from rerank_plugin.indexing.content import MIME_TYPES, SourceFile, irregular_kind

logger = logging.getLogger(__name__)


@dataclass
class SourceListing:
    """
    The files below some paths.

    :param roots: The paths themselves, without links.
    :param files: Files to index, each once, in a fixed order.
    :param skipped: For each thing that was passed over, although it might have been meant, why.
    :param failed: For each file or folder that cannot be looked at, why.
    :param unlisted: Folders that cannot be listed: what is in them is not known.
    """

    roots: list[Path] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unlisted: list[Path] = field(default_factory=list)

    def lost(self, sources: Iterable[str]) -> list[str]:
        """
        Return those files that lay below the roots and are surely no longer there.

        :param sources: Paths of files that were indexed.
        """
        there = {file.source for file in self.files}
        return [
            source
            for source in sources
            if source not in there
            and any(Path(source).is_relative_to(root) for root in self.roots)
            and not any(Path(source).is_relative_to(folder) for folder in self.unlisted)
        ]


def find_sources(paths: Iterable[Path]) -> SourceListing:
    """
    Find the files to index.

    Of a folder in BEIR layout it is the corpus alone; other folders are walked, and hidden files and files of other types
    are passed over. A link to a file is followed if the file lies below one of the paths too, or if the link itself was
    named: a folder must not bring in what lies elsewhere. Links to folders are not followed.

    :param paths: Files and folders.
    :returns: The files, and what was passed over or cannot be read.
    :raises InputFileError: If a path does not exist, or is a file of a type that cannot be indexed.
    """
    given = [path.expanduser() for path in paths]
    walk = _Walk([absolute(path) for path in given])
    for path in given:
        walk.visit(path)
    return walk.listing()


def absolute(path: Path) -> Path:
    """
    Return the absolute path without links, but for a link to a file, which keeps its own name.

    :param path: The path.
    """
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


class _Walk:
    """One search for files. A file with several names is taken once, by a name that is no link if there is one."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._listing = SourceListing(roots=list(roots))
        self._found: dict[Path, Path] = {}

    def listing(self) -> SourceListing:
        """Return the files of all paths that were visited."""
        self._listing.files = [SourceFile(path) for path in self._found.values()]
        return self._listing

    def visit(self, given: Path) -> None:
        """Take a path that was named."""
        try:
            mode = given.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise InputFileError(f"{given} does not exist: check the path") from None
        except OSError as error:
            raise InputFileError(f"{given} cannot be read: {error.strerror}") from None
        if given.is_dir():
            self._walk(given.resolve())
            return
        kind = irregular_kind(mode)
        if kind:
            raise InputFileError(f"{given} is {kind}: only regular files can be indexed")
        if given.suffix.lower() not in MIME_TYPES:
            raise InputFileError(f"{given} has a type that cannot be indexed: give one of {', '.join(MIME_TYPES)}")
        self._take(absolute(given))

    def _walk(self, root: Path) -> None:
        # A list, and no recursion: a tree may be nested more deeply than Python's calls may be.
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                if is_beir_folder(folder):
                    self._look_at(BeirDataset(folder).corpus_file)
                    continue
                with os.scandir(folder) as entries:
                    ordered = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._listing.failed.append(f"{folder} cannot be listed: {error.strerror}; check its permissions")
                self._listing.unlisted.append(folder)
                continue
            subfolders = []
            for entry in ordered:
                if entry.name.startswith("."):
                    logger.info("Passed over %s: hidden", entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    subfolders.append(folder / entry.name)
                else:
                    self._look_at(folder / entry.name)
            folders.extend(reversed(subfolders))

    def _look_at(self, path: Path) -> None:
        """Take a file of a folder, or say why not."""
        try:
            status = path.stat()
        except OSError as error:
            if path.suffix.lower() in MIME_TYPES:
                self._listing.failed.append(f"{path} cannot be read: {error.strerror}")
            return
        kind = irregular_kind(status.st_mode)
        if path.is_symlink() and not self._is_inside(path.resolve()):
            what = "a folder elsewhere" if path.is_dir() else "a file outside the folder"
            if path.is_dir() or path.suffix.lower() in MIME_TYPES:
                self._skip(path, f"a link to {what}; name it on the command line to index it")
        elif kind and not path.is_dir():
            self._skip(path, f"{kind}; only regular files are indexed")
        elif kind is None and path.suffix.lower() in MIME_TYPES:
            self._take(path)
        elif kind is None:
            logger.info("Passed over %s: a type that cannot be indexed", path)

    def _take(self, path: Path) -> None:
        try:
            os.fspath(path).encode("utf-8")
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode("utf-8", errors="backslashreplace")
            self._listing.failed.append(f"{shown} has a name that is not UTF-8: rename the file")
            return
        real = path.resolve()
        if real not in self._found or self._found[real] != real:
            self._found[real] = real if path == real else self._found.get(real, path)

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._listing.roots)

    def _skip(self, path: Path, reason: str) -> None:
        self._listing.skipped.append(f"{path} is {reason}")
        logger.warning("Passed over %s: %s", path, reason)
