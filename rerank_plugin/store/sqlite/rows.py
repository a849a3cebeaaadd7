"""Statements about many rows at a time."""

import json
from collections.abc import Iterator, Sequence

from rerank_plugin.store.sqlite.connection import Connection

# What stands in a query for rows that are passed as one parameter.
LISTED = "(SELECT value FROM json_each(?))"
_PORTION = 4096


def portions(rows: Sequence[int]) -> Iterator[str]:
    """
    Return rows as parameters for `LISTED`, some thousand at a time.

    :param rows: The rows.
    """
    for start in range(0, len(rows), _PORTION):
        yield json.dumps(list(rows[start : start + _PORTION]))


def delete_rows(connection: Connection, table: str, rows: Sequence[int]) -> None:
    """
    Delete rows of a table; belongs into a transaction.

    :param connection: The open database.
    :param table: Its name.
    :param rows: The rows; those that do not exist are passed over.
    """
    for part in portions(rows):
        connection.execute(f"DELETE FROM {table} WHERE row IN {LISTED}", (part,))  # noqa: S608 - our own names
