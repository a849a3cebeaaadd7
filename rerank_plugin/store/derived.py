"""What the indexes that are derived from the database have in common."""

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
    """The library behind a derived index failed on the index; a fresh one has to be built."""


# Failures that say something about the machine and nothing about the index, and what to do about each.
_ENVIRONMENT = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open: close some, or raise the limit (ulimit -n)"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room on the disk; the documents are safe"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give this user the right to read the folder and its files"),
    errno.EROFS: "the file system is read-only: open the index once where it can be written",
    errno.EFBIG: "files may not grow further (ulimit -f); the documents are safe",
    errno.ENOMEM: "there is not enough memory: close other programs",
}
# tantivy (Rust) and FAISS (C++) hand on the error of the system as text only.
_NUMBER = re.compile(r"\b(?:os error |code: |errno[= ])(\d+)\b")


def environment_failure(error: BaseException) -> str | None:
    """
    Return what to do about a failure that has nothing to do with the index itself; None for any other one.

    :param error: What Python, FAISS or tantivy raised: an OSError, or one that quotes the number or the text of the system.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None:
        text = str(error)
        number = _NUMBER.search(text)
        code = int(number[1]) if number else next((code for code in _ENVIRONMENT if os.strerror(code) in text), None)
    return None if code is None else _ENVIRONMENT.get(code)


class DerivedIndex(Protocol):
    """An index that can be built again from the database at any time."""

    def sync(self, database: Database) -> None:
        """
        Replay what was written since the last call.

        :param database: The source of truth.
        :raises StoreError: If the files of the index cannot be read or written at the moment.
        """

    def reset(self) -> None:
        """Forget everything, also what is on disk; the next `sync` starts from nothing."""

    def search(self, query: Any, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the best rows.

        :param query: A text, or a vector.
        :param limit: How many; fewer come back only if no more match.
        :param allowed: The rows that may be returned, in ascending order; None for all.
        :returns: Hits, best first.
        :raises DamagedIndexError: If the index is damaged.
        """
