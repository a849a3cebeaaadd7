"""Indexes of SQLite on fields of the meta, made for the fields that are filtered by again and again."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from haystack import logging

from rerank_plugin.store.filtering.lookups import Lookup
from rerank_plugin.store.sqlite.connection import Connection

logger = logging.getLogger(__name__)

# With fewer documents, reading the meta of all of them takes a few hundredths of a second.
_MIN_DOCUMENTS = 10_000
# After this many filters on a field that were decided by reading everything, the field gets an index.
_SCANS = 3
# Every index makes writing a little slower.
_MOST = 16
_PREFIX = "meta:"
_NOT_PLAIN = "CREATE INDEX IF NOT EXISTS documents_not_plain ON documents (row) WHERE NOT plain"


class MetaIndexes:
    """The indexes of one database."""

    def __init__(self, connection: Connection) -> None:
        """
        Begin to count.

        :param connection: The open database.
        """
        self._connection = connection
        self._scans: Counter[str] = Counter()
        self._wanted: list[str] = []

    def candidate_rows_sql(self, lookups: Sequence[Lookup]) -> tuple[str, dict[str, Any]]:
        """
        Return SQL for the rows among which the matches are, as a table `documents d`, and its parameters.

        :param lookups: Conditions that every match fulfils; one is used if there is an index for it.
        """
        present = self._present() if lookups else set()
        lookup = next((lookup for lookup in lookups if lookup.path in present), None)
        if lookup is None:
            return "documents d", {}
        condition = lookup.condition.replace("{value}", _value(lookup.path))
        # What SQLite reads wrongly from JSON is not plain, and in no index either.
        rows = f"SELECT row FROM documents WHERE {condition} UNION SELECT row FROM documents WHERE NOT plain"  # noqa: S608
        return f"({rows}) JOIN documents d USING (row)", lookup.parameters

    def count_scan(self, lookups: Sequence[Lookup], documents: int) -> None:
        """
        Remember that a filter was decided, with or without an index.

        :param lookups: What could have been looked up.
        :param documents: About how many documents there are.
        """
        if documents < _MIN_DOCUMENTS or not lookups:
            return
        path = lookups[0].path
        self._scans[path] += 1
        if self._scans[path] == _SCANS and path not in self._present():
            self._wanted.append(path)

    def make_wanted(self) -> None:
        """Make the indexes that are due; not inside a transaction. One that cannot be made now is left for later."""
        while self._wanted:
            path = self._wanted.pop()
            if len(self._present()) >= _MOST:
                return
            (patience,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
            self._connection.execute("PRAGMA busy_timeout = 0")  # a search does not wait for a writer
            try:
                self._connection.execute(_NOT_PLAIN)
                name = (_PREFIX + path).replace('"', '""')
                self._connection.execute(f'CREATE INDEX IF NOT EXISTS "{name}" ON documents ({_value(path)})')
                logger.info("Made an index on the meta field {path}, as filters ask for it again and again", path=path)
            except sqlite3.OperationalError as error:  # somebody is writing, or nothing can be written
                logger.debug("No index on the meta field {path} now: {error}", path=path, error=error)
                del self._scans[path]
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {patience}")

    def _present(self) -> set[str]:
        """Return the paths that have an index, whichever process made it."""
        names = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND name GLOB ?", (f"{_PREFIX}*",)
        )
        return {name.removeprefix(_PREFIX) for (name,) in names}


def _value(path: str) -> str:
    quoted = path.replace("'", "''")
    return f"json_extract(meta, '{quoted}')"
