"""A full check of a database, which detects damage before it is used."""

from collections.abc import Sequence
from typing import Protocol

from rerank_plugin.store.sqlite.changes import Changelog
from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.damage import DamagedDatabaseError
from rerank_plugin.store.sqlite.documents import DocumentTable
from rerank_plugin.store.sqlite.settings import SettingsTable


class Checked(Protocol):
    """A table that can check itself."""

    def check(self) -> None:
        """
        Check all rows.

        :raises DamagedDatabaseError: If one is damaged.
        """


def check_everything(
    connection: Connection, settings: SettingsTable, changes: Changelog, documents: DocumentTable, others: Sequence[Checked]
) -> None:
    """
    Check the structure of a database and every document in it. Call inside a snapshot.

    :param connection: The open database.
    :param settings: Its settings.
    :param changes: Its changelog.
    :param documents: Its documents.
    :param others: Its other tables.
    :raises DamagedDatabaseError: If the structure or a document is damaged.
    """
    (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise DamagedDatabaseError(connection.file, " ".join(str(result).split()))
    last_row, last_change = connection.execute("SELECT max(row), max(changed) FROM documents").fetchone()
    for name, used, limit in (
        ("last_row", last_row, settings.number("last_row")),
        ("counter", last_change, changes.counter),
    ):
        if (used or 0) > limit:
            raise DamagedDatabaseError(connection.file, f"setting {name!r} is {limit}, but {used} is in use")
    settings.read()
    for _ in documents.read(None):
        pass
    for table in others:
        table.check()
    (orphan,) = connection.execute("SELECT min(row) FROM vectors WHERE row NOT IN (SELECT row FROM documents)").fetchone()
    if orphan is not None:
        raise DamagedDatabaseError(connection.file, f"row {orphan} has a vector, but no document")
