"""Files that this package writes: where the cache is, and replacing a file in one step."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CACHE_VARIABLE = "RERANK_PLUGIN_CACHE"


def cache_folder() -> Path:
    """Return the folder for what can be made again: `$RERANK_PLUGIN_CACHE`, or the platform's usual place for caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("rerank_plugin", appauthor=False)


@contextmanager
def replace_file(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """
    Write a file so that a reader sees the old one or the new one, never half of one, also after a power failure.

    Several threads and processes may replace one file at the same time: the last to end wins.

    :param path: The file; its folder is made if it is missing. It stays as it was if the `with` block raises.
    :param binary: Whether bytes are written, and not text in UTF-8.
    :returns: What to write to.
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
