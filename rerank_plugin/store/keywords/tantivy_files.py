"""
Verification of the files of a tantivy index.

tantivy appends a checksum to every file of a segment but never verifies it: with one flipped bit in a column, a search
silently returns nothing. `meta.json`, which lists the segments, has no checksum; ours is stored in the state, and so are
those of the segments, as a file of another index or from a backup has a correct one of its own.
"""

import json
import os
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rerank_plugin.store.derived import DamagedIndexError
from rerank_plugin.store.derived_files import DerivedFiles

META = "meta.json"
# Locked by flock while tantivy opens the files of a commit.
META_LOCK = ".tantivy-meta.lock"
_MANAGED = ".managed.json"
_SUFFIXES = ("fast", "fieldnorm", "idx", "pos", "store", "term")
# A file ends with a JSON footer, the length of the footer, and this number (`footer.rs` in tantivy's source).
_MAGIC = (1337).to_bytes(4, "little")
_MAX_FOOTER_BYTES = 10_000


class Commit(NamedTuple):
    """
    One commit of tantivy.

    :param checksum: CRC-32 of its `meta.json`.
    :param opstamp: tantivy's operation counter, which only increases.
    :param files: CRC-32 of every file of its segments, by name.
    """

    checksum: int
    opstamp: int
    files: dict[str, int]


def read_commit(files: DerivedFiles, folder: Path) -> Commit:
    """
    Return the last commit of an index.

    :param files: The folder of the derived index.
    :param folder: The folder of the tantivy index.
    :raises DamagedIndexError: If a file is missing, or has no checksum.
    :raises StoreError: If a file cannot currently be read.
    """
    return _read_commit(files, folder)[0]


def let_others_read(folder: Path) -> None:
    """
    Give the lists of files, which tantivy makes for its own user alone, the rights that the folder has.

    :param folder: The folder of the index.
    """
    rights = folder.stat().st_mode & 0o666
    for name in (META, _MANAGED):
        with suppress(OSError):  # not every file system knows rights
            (folder / name).chmod(rights)


def check(files: DerivedFiles, folder: Path, published: Commit) -> bool:
    """
    Check every file of an index.

    :param files: The folder of the derived index, which caches verified checksums.
    :param folder: The folder of the tantivy index.
    :param published: The commit recorded in the state.
    :returns: Whether that is the last commit. It is not if a process was killed after the commit and before the state was
        written: the same changes are then replayed again.
    :raises DamagedIndexError: If a file is missing, or its checksum differs.
    :raises StoreError: If a file cannot currently be read.
    """
    commit, footers = _read_commit(files, folder)
    if commit.checksum != published.checksum and commit.opstamp <= published.opstamp:
        raise DamagedIndexError(f"{folder / META} is damaged: its checksum differs")
    for name, expected in commit.files.items():
        path = folder / name
        if published.files.get(name, expected) != expected:
            raise DamagedIndexError(f"{path} is of another index, or from a backup: its checksum differs")
        if files.checksum_of(path, without=footers[name].length) != expected:
            raise DamagedIndexError(f"{path} is damaged: its checksum differs")
    return commit.checksum == published.checksum


class _Footer(NamedTuple):
    """The end of a file: its checksum, and the length of the footer, which the checksum does not cover."""

    checksum: int
    length: int


def _read_commit(files: DerivedFiles, folder: Path) -> tuple[Commit, dict[str, _Footer]]:
    """Return the last commit of an index, and the footers of its files."""
    try:
        data = (folder / META).read_bytes()
        meta = json.loads(data)
        json.loads((folder / _MANAGED).read_bytes())
        opstamp, names = int(meta["opstamp"]), _segment_files(meta)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        files.refuse_environment(error)
        raise DamagedIndexError(f"{folder / META} cannot be read: {error}") from error
    footers = {name: _footer(files, folder / name) for name in names}
    return Commit(zlib.crc32(data), opstamp, {name: footer.checksum for name, footer in footers.items()}), footers


def _segment_files(meta: dict[str, Any]) -> list[str]:
    names = []
    for segment in meta["segments"]:
        name = segment["segment_id"].replace("-", "")
        names += [f"{name}.{suffix}" for suffix in _SUFFIXES]
        if segment["deletes"]:
            names.append(f"{name}.{segment['deletes']['opstamp']}.del")
    return names


def _footer(files: DerivedFiles, path: Path) -> _Footer:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _MAX_FOOTER_BYTES))
            tail = file.read()
        length = int.from_bytes(tail[-8:-4], "little")
        if tail[-4:] != _MAGIC or not 0 < length <= len(tail) - 8:
            raise ValueError("it has no valid footer")
        return _Footer(int(json.loads(tail[-8 - length : -8])["crc"]), length + 8)
    except (OSError, ValueError, KeyError, TypeError) as error:
        files.refuse_environment(error)
        raise DamagedIndexError(f"{path} cannot be read: {error}") from error


def linked(folder: Path) -> Path:
    """
    Return a folder with links to the files of a read-only index: tantivy creates a lock file even for reading.

    :param folder: The folder of the index.
    :returns: A temporary folder, to be deleted by the caller.
    """
    links = Path(tempfile.mkdtemp(prefix="rerank-plugin-"))
    for file in folder.iterdir():
        if file.suffix != ".lock":
            (links / file.name).symlink_to(file.resolve())
    return links


def _close_inherited_locks() -> None:
    """
    Close the locks that tantivy's threads held when this process was forked.

    The lock of an open file is that of all its descriptors. A child that keeps one locks the index for itself and for its
    parent: for ever, as the thread that would close it does not exist in the child.
    """
    descriptors = Path("/proc/self/fd")
    with suppress(OSError):
        for entry in list(descriptors.iterdir()):
            with suppress(OSError):
                if entry.readlink().name.removesuffix(" (deleted)") == META_LOCK:
                    os.close(int(entry.name))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_locks)
