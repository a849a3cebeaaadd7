"""Where this package keeps what can be made again, and how it writes files: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CACHE_VARIABLE = "RERANK_PLUGIN_CACHE"


def cache_folder() -> Path:
    """Say where converted models and indexes of evaluations lie: `$RERANK_PLUGIN_CACHE`, else in the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rerank_plugin"


@contextmanager
def replace_file(path: Path) -> Iterator[IO[str]]:
    """
    Write a text file so that a reader sees the old one or the new one, never half of one.

    :param path: The file; its folder is made if it is not there. It stays as it was if the `with` ends in an error.
    :returns: What to write to, UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
