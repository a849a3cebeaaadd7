"""The interface and the errors shared by the indexes derived from the database."""

import errno
import os
import re
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rerank_plugin.errors import StoreError
from rerank_plugin.store.sqlite.database import Database

Rows = npt.NDArray[np.int64]


class Hit(NamedTuple):
    """A row and its score; a higher score is better."""

    row: int
    score: float


class DamagedIndexError(StoreError):
    """The library behind a derived index failed on its files; the index must be rebuilt."""


# Failures caused by the environment rather than by the index, and the remedy for each.
_ENVIRONMENT = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open: close some, or raise the limit (ulimit -n)"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free disk space; the documents are safe"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give this user permission to read the folder and its files"),
    errno.EROFS: "the file system is read-only: open the index once where it is writable",
    errno.EFBIG: "the file size limit is reached (ulimit -f); the documents are safe",
    errno.ENOMEM: "there is not enough memory: close other programs",
}
# tantivy (Rust) and FAISS (C++) pass the system's error on as text only.
_NUMBER = re.compile(r"\b(?:os error |code: |errno[= ])(\d+)\b")


def environment_failure(error: BaseException) -> str | None:
    """
    Return the remedy for a failure of the environment (disk, permissions, limits); None for any other failure.

    :param error: An OSError, or an error of FAISS or tantivy that quotes the system's error number or message.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None:
        text = str(error)
        number = _NUMBER.search(text)
        code = int(number[1]) if number else next((code for code in _ENVIRONMENT if os.strerror(code) in text), None)
    return None if code is None else _ENVIRONMENT.get(code)


class DerivedIndex(Protocol):
    """An index that can be rebuilt from the database at any time."""

    def sync(self, database: Database) -> None:
        """
        Replay the changes made since the last call.

        :param database: The source-of-truth database.
        :raises StoreError: If the files of the index cannot currently be read or written.
        """

    def reset(self) -> None:
        """Discard the index, in memory and on disk; the next `sync` rebuilds it."""

    def search(self, query: Any, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the best rows.

        :param query: A keyword query, or a vector.
        :param limit: Maximum number of hits; fewer are returned only if no more rows match.
        :param allowed: The rows that may be returned, in ascending order; None for all.
        :returns: Hits, best first.
        :raises DamagedIndexError: If the index is damaged.
        """
