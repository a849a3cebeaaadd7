"""What a failure of the database or of the disk means, and what to do about it."""

import errno
import os
import sqlite3

from rerank_plugin.store.sqlite.damage import REMEDY

# The database, its write-ahead log, the index of the log, and the folder when it is synced.
_FILES_OF_A_DATABASE = 4

_TOO_MANY_FILES = "this process has too many open files: raise its limit (`ulimit -n`), or close stores that are not in use"


def explain(error: sqlite3.Error | OSError) -> str:
    """
    Return the end of a sentence that begins with the index.

    :param error: What SQLite or the system raised.
    """
    reason = str(error)
    if ("unable to open" in reason or isinstance(error, OSError)) and _lacks_file_handles(error):
        return f"cannot be opened ({reason}): {_TOO_MANY_FILES}"
    if "malformed" in reason or "not a database" in reason:
        return f"is damaged ({reason}): {REMEDY}"
    if "is full" in reason or getattr(error, "errno", None) == errno.ENOSPC:
        return f"cannot be written ({reason}): make room on the disk; nothing of this write was stored"
    if "readonly" in reason or isinstance(error, PermissionError):
        return f"cannot be written ({reason}): the folder or a file in it is read-only"
    if "locked" in reason:
        return f"is busy ({reason}): another process has been writing for too long; try again when it is done"
    return f"cannot be used: {reason}"


def _lacks_file_handles(error: BaseException) -> bool:
    """
    Return whether something failed because this process, or the system, has too many open files.

    SQLite does not pass the number of the error on: then it is tried whether as many files can be opened as it needs.

    :param error: What was raised.
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
