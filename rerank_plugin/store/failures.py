"""
What the machine can refuse, and what to do about it: too many open files, a full disk, missing rights.

SQLite, tantivy and FAISS hand on the error of the system as text only, or not at all.
"""

import errno
import os
import re
import sqlite3

from rerank_plugin.store.sqlite.damage import REMEDY

# Failures that say something about the machine and nothing about the index.
_REMEDIES = {
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        "this process has too many open files: raise its limit (`ulimit -n`), or close stores that are not in use",
    ),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free disk space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give this user permission to read and write the folder and its files"),
    errno.EROFS: "the file system is read-only: open the index once where it can be written",
    errno.EFBIG: "files may not grow further: raise the limit (`ulimit -f`)",
    errno.ENOMEM: "there is not enough memory: close other programs",
    errno.ENOLCK: "the file system has no locks: move the index to a local disk",
}
_OF_WRITES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
# tantivy is written in Rust, FAISS in C++.
_NUMBER = re.compile(r"\b(?:os error |code: |errno[= ])(\d+)\b")
# SQLite's words for a damaged file. The statements of this package are right: what they name is missing from the schema.
_DAMAGED = ("malformed", "not a database", "unknown function", "no such ", "syntax error")
# SQLite's own words.
_SQLITE = {"is full": errno.ENOSPC, "readonly": errno.EACCES}
# The database, its write-ahead log, the index of the log, and the folder when it is synced.
_FILES_OF_A_DATABASE = 4


def environment_failure(error: BaseException) -> str | None:
    """
    Return what to do about a failure of a derived index that has nothing to do with the index itself.

    :param error: What Python, FAISS or tantivy raised: an OSError, or one that quotes the number or the text of the system.
    :returns: None for any other failure.
    """
    remedy = _REMEDIES.get(_number(error) or 0)
    return None if remedy is None else f"{remedy}; the documents are safe"


def explain(error: sqlite3.Error | OSError) -> str:
    """
    Return the explanation of an error, as the end of a sentence whose subject is the index.

    :param error: What SQLite or the system raised for the database.
    """
    reason = str(error)
    if any(words in reason for words in _DAMAGED):
        return f"is damaged ({reason}): {REMEDY}"
    if "locked" in reason:
        return f"is busy ({reason}): another process has been writing for too long; try again when it is done"
    number = next((number for text, number in _SQLITE.items() if text in reason), None) or _number(error)
    if number is None and "unable to open" in reason:
        number = _refusal_to_open()
    remedy = _REMEDIES.get(number or 0)
    if remedy is None:
        return f"cannot be used: {reason}"
    if number in _OF_WRITES or "readonly" in reason:
        return f"cannot be written ({reason}): {remedy}; nothing of this write was stored"
    return f"cannot be opened ({reason}): {remedy}"


def _number(error: BaseException) -> int | None:
    """Return the number of a system error; None if it is none that is known here."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    number = _NUMBER.search(text)
    return int(number[1]) if number else next((code for code in _REMEDIES if os.strerror(code) in text), None)


def _refusal_to_open() -> int | None:
    """Try why SQLite could not open a file, which it does not say: whether as many can be opened as it needs."""
    opened: list[int] = []
    try:
        while len(opened) < _FILES_OF_A_DATABASE:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as probe:
        return probe.errno
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return None
