"""Explanations of failures of the database or the disk, each with its remedy."""

import errno
import os
import sqlite3

from rerank_plugin.store.sqlite.damage import REMEDY

# The database, its write-ahead log, the shared-memory file of the log, and the folder while it is synced.
_FILES_OF_A_DATABASE = 4

_TOO_MANY_FILES = "this process has too many open files: raise its limit (`ulimit -n`), or close stores that are not in use"


def explain(error: sqlite3.Error | OSError) -> str:
    """
    Return the explanation of an error, as the end of a sentence whose subject is the index.

    :param error: The error raised by SQLite or the operating system.
    """
    reason = str(error)
    if ("unable to open" in reason or isinstance(error, OSError)) and _lacks_file_handles(error):
        return f"cannot be opened ({reason}): {_TOO_MANY_FILES}"
    if "malformed" in reason or "not a database" in reason:
        return f"is damaged ({reason}): {REMEDY}"
    if "is full" in reason or getattr(error, "errno", None) == errno.ENOSPC:
        return f"cannot be written ({reason}): free disk space; nothing of this write was stored"
    if "readonly" in reason or isinstance(error, PermissionError):
        return f"cannot be written ({reason}): the folder or a file in it is read-only"
    if "locked" in reason:
        return f"is busy ({reason}): another process has been writing for too long; try again when it is done"
    return f"cannot be used: {reason}"


def _lacks_file_handles(error: BaseException) -> bool:
    """
    Return whether a call failed because this process, or the system, has too many open files.

    SQLite does not pass the error number on; in that case, try to open as many files as SQLite needs.

    :param error: The error that was raised.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    opened: list[int] = []
    try:
        while len(opened) < _FILES_OF_A_DATABASE:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as probe:
        return probe.errno in (errno.EMFILE, errno.ENFILE)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return False
