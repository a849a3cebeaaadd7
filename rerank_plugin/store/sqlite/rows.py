"""Statements about many rows at a time."""

import json
from collections.abc import Iterator, Sequence

from rerank_plugin.store.sqlite.connection import Connection

# SQL for a list of rows that is passed as one parameter.
LISTED = "(SELECT value FROM json_each(?))"
_BATCH_SIZE = 4096


def batches(rows: Sequence[int]) -> Iterator[str]:
    """
    Return rows as parameters for `LISTED`, several thousand at a time.

    :param rows: The rows.
    """
    for start in range(0, len(rows), _BATCH_SIZE):
        yield json.dumps(list(rows[start : start + _BATCH_SIZE]))


def delete_rows(connection: Connection, table: str, rows: Sequence[int]) -> None:
    """
    Delete rows of a table. Call inside a transaction.

    :param connection: The open database.
    :param table: Its name.
    :param rows: The rows; rows that do not exist are ignored.
    """
    for part in batches(rows):
        connection.execute(f"DELETE FROM {table} WHERE row IN {LISTED}", (part,))  # noqa: S608 - our own names
