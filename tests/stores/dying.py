"""A run of `rerank index` that kills itself, as `kill -9` would, between two of the steps that change something outside of it."""

import functools
import os
import signal
import sys

from haystack.components.writers import DocumentWriter

from rerank_plugin.indexing.foreign_store import ForeignStore
from rerank_plugin.indexing.manifest import Manifest

STEPS = (
    (DocumentWriter, "run"),
    (ForeignStore, "delete"),
    (ForeignStore, "delete_ids"),
    (Manifest, "put"),
    (Manifest, "remove"),
    (Manifest, "put_documents"),
)
_passed = 0


def die_at(point: int) -> None:
    """
    Let this process die when it passes a point: one is before each step, one after it.

    :param point: Number of the point, from 1 on; 0: none.
    """
    for owner, name in STEPS:
        setattr(owner, name, _counted(getattr(owner, name), point))


def _counted(method, point):
    @functools.wraps(method)
    def call(*arguments, **named):
        _pass(point)
        result = method(*arguments, **named)
        _pass(point)
        return result

    return call


def _pass(point: int) -> None:
    global _passed
    _passed += 1
    if _passed == point:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Index with the arguments `point`, `pipeline`, `folder...`; print how many points there were."""
    from pathlib import Path

    from rerank_plugin.indexing import index_paths

    die_at(int(sys.argv[1]))
    report = index_paths([Path(path) for path in sys.argv[3:]], None, pipeline=sys.argv[2], prune=True)
    assert report.failed == []
    sys.stdout.write(str(_passed))
