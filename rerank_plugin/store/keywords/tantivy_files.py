"""
Whether the files of a tantivy index are as tantivy wrote them.

tantivy appends a checksum to every file of a segment and never looks at it again: one flipped bit in a column, and a search
finds nothing and says nothing. `meta.json`, which lists the segments, has no checksum; ours stands in the state.
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
_MANAGED = ".managed.json"
_SUFFIXES = ("fast", "fieldnorm", "idx", "pos", "store", "term")
# A file ends with a JSON text, the length of that text, and this number (`footer.rs` in tantivy's source).
_MAGIC = (1337).to_bytes(4, "little")
_LONGEST_FOOTER = 10_000


class Commit(NamedTuple):
    """
    One commit of tantivy.

    :param checksum: CRC-32 of its `meta.json`.
    :param opstamp: tantivy's count of operations, which only grows.
    """

    checksum: int
    opstamp: int


def read_commit(folder: Path) -> Commit:
    """
    Return the last commit of an index.

    :param folder: The folder of the index.
    """
    return _commit((folder / META).read_bytes())


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
    Check every file that the index consists of.

    :param files: The folder of the derived index, which remembers what it has read.
    :param folder: The folder of the tantivy index.
    :param published: The commit that the state was written for.
    :returns: Whether that is the last commit. It is not where a process was killed between the two: the same changes are
        then replayed once more.
    :raises DamagedIndexError: If a file is missing, or holds something else.
    :raises StoreError: If one cannot be read at the moment.
    """
    try:
        data = (folder / META).read_bytes()
        commit, names = _commit(data), _segment_files(json.loads(data))
        json.loads((folder / _MANAGED).read_bytes())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        files.refuse_environment(error)
        raise DamagedIndexError(f"{folder / META} cannot be read: {error}") from error
    if commit.checksum != published.checksum and commit.opstamp <= published.opstamp:
        raise DamagedIndexError(f"{folder / META} is not as it was written")
    for name in names:
        path = folder / name
        expected, length = _footer(files, path)
        if files.checksum_of(path, without=length) != expected:
            raise DamagedIndexError(f"{path} is not as it was written")
    return commit.checksum == published.checksum


def _commit(meta: bytes) -> Commit:
    return Commit(zlib.crc32(meta), int(json.loads(meta)["opstamp"]))


def _segment_files(meta: dict[str, Any]) -> list[str]:
    names = []
    for segment in meta["segments"]:
        name = segment["segment_id"].replace("-", "")
        names += [f"{name}.{suffix}" for suffix in _SUFFIXES]
        if segment["deletes"]:
            names.append(f"{name}.{segment['deletes']['opstamp']}.del")
    return names


def _footer(files: DerivedFiles, path: Path) -> tuple[int, int]:
    """Return the checksum that a file ends with, and how many bytes of the file do not count for it."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _LONGEST_FOOTER))
            tail = file.read()
        length = int.from_bytes(tail[-8:-4], "little")
        if tail[-4:] != _MAGIC or not 0 < length <= len(tail) - 8:
            raise ValueError("it does not end with a checksum")
        return int(json.loads(tail[-8 - length : -8])["crc"]), length + 8
    except (OSError, ValueError, KeyError, TypeError) as error:
        files.refuse_environment(error)
        raise DamagedIndexError(f"{path} cannot be read: {error}") from error


def linked(folder: Path) -> Path:
    """
    Return a folder with links to the files of an index that cannot be written: tantivy makes a file there even for reading.

    :param folder: The folder of the index.
    :returns: A temporary folder; whoever asked for it deletes it.
    """
    links = Path(tempfile.mkdtemp(prefix="rerank-plugin-"))
    for file in folder.iterdir():
        if file.suffix != ".lock":
            (links / file.name).symlink_to(file.resolve())
    return links
