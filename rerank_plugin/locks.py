"""
The one lock between processes, for what only one run at a time may do: index, convert, build, evaluate.

It is an advisory lock of the operating system on a file (`flock`; on Windows `LockFileEx`), taken by the library filelock.
It dies with its process, however that ends, and excludes the other threads of the process as well. A forked child neither
inherits it nor keeps it alive. The holder writes into the file who it is, for messages.
"""

import errno
import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

# At the top: filelock has to see a fork later than the stores do, see `store/forks.py`.
import filelock

# The first byte is the one that Windows locks: as long as it is locked, nobody else can read it.
_NOTE_OFFSET = 1
_NOTE_SIZE = 4096
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


class LocksUnavailableError(OSError):
    """The operating system, or the file system that the lock file is on, has no locks."""


class HeldLock:
    """A lock that this process holds until `release`, or until the end of a `with` block."""

    def __init__(self, path: Path, *, keep_file: bool) -> None:
        """
        Name a lock; see `acquire_lock`.

        :param path: The lock file.
        :param keep_file: Whether `release` leaves the file in place.
        """
        self._path = path
        self._keep_file = keep_file
        self._process = os.getpid()
        self._descriptor = -1
        # No fallback: filelock's takes a file that exists for a lock, which a killed process would leave behind for ever.
        self._lock = filelock.FileLock(
            path, thread_local=False, fallback_to_soft=False, preserve_lock_file=keep_file, on_acquired=self._sign
        )

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock. In a forked child, which does not have it, this does nothing."""
        if os.getpid() != self._process or not self._lock.is_locked:
            return
        with suppress(OSError):
            if self._keep_file:
                os.ftruncate(self._descriptor, 0)
            # Windows does not delete open files: there filelock does it afterwards. Elsewhere the file goes before the lock:
            # a process that locks a deleted file notices. It stays if another process has replaced it.
            elif os.name != "nt" and os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                self._path.unlink()
        self._lock.release()

    def _acquire(self, wait: float) -> bool:
        try:
            self._lock.acquire(timeout=wait)
        except filelock.Timeout:
            return False
        return True

    def _sign(self, descriptor: int) -> None:
        self._descriptor = descriptor
        note = {"pid": os.getpid(), "host": socket.gethostname(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b" " * _NOTE_OFFSET + json.dumps(note).encode("ascii"))


def acquire_lock(path: Path, *, wait: float = 0.0, keep_file: bool = True) -> HeldLock | None:
    """
    Take the lock on a file.

    :param path: The lock file; it is made if it is missing, with its folder, and what it holds is overwritten.
    :param wait: For how many seconds to wait for another holder: 0 to try once, infinity to wait for ever.
    :param keep_file: Leave the file in place when the lock is released. If not, it is removed: for a file whose name comes
        and goes, such as that of one backup.
    :returns: The lock; None if somebody else still holds it.
    :raises LocksUnavailableError: If there are no locks here.
    :raises OSError: If the file cannot be opened.
    """
    lock = HeldLock(path, keep_file=keep_file)
    try:
        # First without waiting: filelock refuses to wait for ever for what this thread holds, which may be a file that was
        # deleted meanwhile.
        is_held = lock._acquire(0.0) or (wait > 0 and lock._acquire(wait))
    except OSError as error:
        if error.errno in _NO_LOCKS:
            if not keep_file:
                path.unlink(missing_ok=True)  # it was made all the same, and is nobody's lock
            raise LocksUnavailableError(error.errno, error.strerror, str(path)) from error
        raise
    return lock if is_held else None


def holder_of(path: Path) -> str:
    """
    Return who holds a lock, for a message.

    :param path: The lock file.
    :returns: "process 12 on HOST since TIME", or "another process" where the holder has not written this down.
    """
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(_NOTE_OFFSET)
            note = json.loads(file.read(_NOTE_SIZE))
        return f"process {int(note['pid'])} on {note['host']} since {note['started']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
