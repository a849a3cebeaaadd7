"""Files that this package writes: the cache folder, atomic replacement of a file, and hashes of contents."""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CACHE_VARIABLE = "RERANK_PLUGIN_CACHE"
DATA_VARIABLE = "RERANK_PLUGIN_DATA"


def cache_folder() -> Path:
    """Return the cache folder: `$RERANK_PLUGIN_CACHE`, or else the platform's user cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("rerank_plugin", appauthor=False)


def data_folder() -> Path:
    """Return the folder for what must not be lost: `$RERANK_PLUGIN_DATA`, or else the platform's user data folder."""
    chosen = os.environ.get(DATA_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path

    return user_data_path("rerank_plugin", appauthor=False)


@contextmanager
def replace_file(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """
    Replace a file atomically: a reader sees the old or the new content, never a part of it, even after a power failure.

    Several threads and processes may replace one file at the same time: the last to finish wins.

    :param path: The file; its folder is created if it does not exist. It stays unchanged if the `with` block raises.
    :param binary: Whether to write bytes instead of UTF-8 text.
    :returns: The open file to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("xb") if binary else temporary.open("x", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fingerprint_files(files: Iterable[Path]) -> str:
    """
    Hash the content of files, regardless of names and dates.

    :param files: The files, in a stable order.
    :returns: 32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]
