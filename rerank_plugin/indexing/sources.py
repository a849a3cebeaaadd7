"""Finding the files to index: walks folders, and decides about links and files that are not regular."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rerank_plugin.collections.beir import BeirDataset, is_beir_folder
from rerank_plugin.components.converters.types import OFFICE_EXTRA, file_type
from rerank_plugin.errors import InputFileError
from rerank_plugin.indexing.content import SUFFIXES, SourceFile, irregular_kind

logger = logging.getLogger(__name__)


@dataclass
class SourceListing:
    """
    The files below some paths.

    :param roots: The paths themselves, with links resolved.
    :param files: Files to index, each once, in a fixed order.
    :param skipped: Each path that was skipped although the user may have meant it, with the reason.
    :param failed: Each file or folder that cannot be read, with the reason.
    :param unlisted: Folders that cannot be listed, so that their content is unknown.
    :param other_types: Files of types that cannot be indexed.
    :param unreadable: Files of types that can be indexed only with an extra that is not installed.
    """

    roots: list[Path] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unlisted: list[Path] = field(default_factory=list)
    other_types: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    @staticmethod
    def counts(paths: Iterable[Path]) -> dict[str, int]:
        """
        Count files by extension, the most frequent first.

        :param paths: The files.
        """
        return dict(Counter(path.suffix.lower() for path in paths).most_common())

    def lost(self, sources: Iterable[str]) -> list[str]:
        """
        Return the files below the roots that certainly no longer exist.

        :param sources: Paths of files that were indexed.
        """
        present = {file.source for file in self.files} | {str(path) for path in self.unreadable}
        return [
            source
            for source in sources
            if source not in present
            and any(Path(source).is_relative_to(root) for root in self.roots)
            and not any(Path(source).is_relative_to(folder) for folder in self.unlisted)
        ]


def find_sources(paths: Iterable[Path]) -> SourceListing:
    """
    Find the files to index.

    A folder in BEIR layout gives only its corpus; other folders are walked, ignoring hidden files and files of other types.
    A link to a file is followed if the file is also below one of the paths, or if the link itself was given: a folder must
    not include files from outside it. Links to folders are not followed.

    :param paths: Files and folders.
    :returns: The files, and the paths that were skipped or cannot be read.
    :raises InputFileError: If a path does not exist, or is a file of a type that cannot be indexed.
    """
    given = [path.expanduser() for path in paths]
    walk = _Walk([absolute(path) for path in given])
    for path in given:
        walk.visit(path)
    return walk.listing()


def absolute(path: Path) -> Path:
    """
    Return the absolute path with links resolved, except that a link to a file keeps its own name.

    :param path: The path.
    """
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


class _Walk:
    """A search for files. A file with several names is listed once, under a name that is not a link if there is one."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._listing = SourceListing(roots=list(roots))
        self._names: dict[Path, Path] = {}  # the file with links resolved -> the name under which it is listed

    def listing(self) -> SourceListing:
        """Return the files of all paths that were visited."""
        self._listing.files = [SourceFile(path) for path in self._names.values()]
        return self._listing

    def visit(self, given: Path) -> None:
        """Add a path given by the caller."""
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
        if given.suffix.lower() not in SUFFIXES:
            raise InputFileError(f"{given} has a type that cannot be indexed: pass one of {', '.join(SUFFIXES)}")
        if _needs_extra(given):
            raise InputFileError(f"{given} needs the extra {OFFICE_EXTRA!r}: pip install 'rerank-plugin[{OFFICE_EXTRA}]'")
        self._add(absolute(given))

    def _walk(self, root: Path) -> None:
        # A stack instead of recursion: folders may be nested more deeply than Python's recursion limit.
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                if is_beir_folder(folder):
                    self._visit_entry(BeirDataset(folder).corpus_file)
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
                    self._visit_entry(folder / entry.name)
            folders.extend(reversed(subfolders))

    def _visit_entry(self, path: Path) -> None:
        """Add an entry of a folder, or record why it is skipped."""
        try:
            status = path.stat()
        except OSError as error:
            if path.suffix.lower() in SUFFIXES:
                self._listing.failed.append(f"{path} cannot be read: {error.strerror}")
            return
        kind = irregular_kind(status.st_mode)
        if path.is_symlink() and not self._is_inside(path.resolve()):
            target = "a folder elsewhere" if path.is_dir() else "a file outside the folder"
            if path.is_dir() or path.suffix.lower() in SUFFIXES:
                self._skip(path, f"a link to {target}; name it on the command line to index it")
        elif kind and not path.is_dir():
            self._skip(path, f"{kind}; only regular files are indexed")
        elif kind is None and path.suffix.lower() not in SUFFIXES:
            self._listing.other_types.append(path)
            logger.info("Passed over %s: a type that cannot be indexed", path)
        elif kind is None and _needs_extra(path):
            self._listing.unreadable.append(path)
            logger.info("Passed over %s: it needs the extra %r", path, OFFICE_EXTRA)
        elif kind is None and not status.st_size:
            self._skip(path, "empty")
        elif kind is None:
            self._add(path)

    def _add(self, path: Path) -> None:
        try:
            os.fspath(path).encode("utf-8")
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode("utf-8", errors="backslashreplace")
            self._listing.failed.append(f"{shown} has a name that is not UTF-8: rename the file")
            return
        real = path.resolve()
        if real not in self._names or self._names[real] != real:
            self._names[real] = real if path == real else self._names.get(real, path)

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._listing.roots)

    def _skip(self, path: Path, reason: str) -> None:
        self._listing.skipped.append(f"{path} is {reason}")
        logger.warning("Passed over %s: %s", path, reason)


def _needs_extra(path: Path) -> bool:
    kind = file_type(path)
    return kind is not None and not kind.is_readable
