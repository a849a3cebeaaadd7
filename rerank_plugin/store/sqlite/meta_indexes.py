"""SQLite indexes on meta fields, created for the fields that are filtered by repeatedly."""

import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rerank_plugin.store.filtering.lookups import Lookup
from rerank_plugin.store.sqlite.connection import Connection

logger = logging.getLogger(__name__)

# With fewer documents, reading the meta of all of them takes a few hundredths of a second.
_MIN_DOCUMENTS = 10_000
# After this many full scans for filters on a field, the field gets an index.
_SCANS = 3
# Every index makes writing a little slower.
_MAX_INDEXES = 16
_PREFIX = "meta:"
_NOT_PLAIN = "CREATE INDEX IF NOT EXISTS documents_not_plain ON documents (row) WHERE NOT plain"


class MetaIndexes:
    """The indexes of one database."""

    def __init__(self, connection: Connection) -> None:
        """
        No index is read or created yet.

        :param connection: The open database.
        """
        self._connection = connection
        self._scans: Counter[str] = Counter()
        self._wanted: list[str] = []

    def candidate_rows_sql(self, lookups: Sequence[Lookup]) -> tuple[str, dict[str, Any]]:
        """
        Return SQL for the candidate rows, which include all matches, as a table `documents d`, and its parameters.

        :param lookups: Conditions that every match fulfils; the first one that has an index is used.
        """
        present = self._present() if lookups else set()
        lookup = next((lookup for lookup in lookups if lookup.path in present), None)
        if lookup is None:
            return "documents d", {}
        condition = lookup.condition.replace("{value}", _value(lookup.path))
        # Rows whose JSON SQLite misreads are not plain, and indexes do not cover them correctly.
        rows = f"SELECT row FROM documents WHERE {condition} UNION SELECT row FROM documents WHERE NOT plain"  # noqa: S608
        return f"({rows}) JOIN documents d USING (row)", lookup.parameters

    def count_scan(self, lookups: Sequence[Lookup], documents: int) -> None:
        """
        Count the evaluation of a filter, with or without an index.

        :param lookups: The lookups of the filter.
        :param documents: Approximate number of documents.
        """
        if documents < _MIN_DOCUMENTS or not lookups:
            return
        path = lookups[0].path
        self._scans[path] += 1
        if self._scans[path] == _SCANS and path not in self._present():
            self._wanted.append(path)

    def make_wanted(self) -> None:
        """Create the indexes that are due. Call outside a transaction. On failure, scans are counted from 0 again."""
        while self._wanted:
            path = self._wanted.pop()
            if len(self._present()) >= _MAX_INDEXES:
                return
            (patience,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
            self._connection.execute("PRAGMA busy_timeout = 0")  # a search does not wait for a writer
            try:
                self._connection.execute(_NOT_PLAIN)
                name = (_PREFIX + path).replace('"', '""')
                self._connection.execute(f'CREATE INDEX IF NOT EXISTS "{name}" ON documents ({_value(path)})')
                logger.info("Made an index on the meta field %s, as filters ask for it again and again", path)
            except sqlite3.OperationalError as error:  # somebody is writing, or nothing can be written
                logger.debug("No index on the meta field %s now: %s", path, error)
                del self._scans[path]
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {patience}")

    def _present(self) -> set[str]:
        """Return the paths that have an index, whichever process created it."""
        names = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND name GLOB ?", (f"{_PREFIX}*",)
        )
        return {name.removeprefix(_PREFIX) for (name,) in names}


def _value(path: str) -> str:
    quoted = path.replace("'", "''")
    return f"json_extract(meta, '{quoted}')"
