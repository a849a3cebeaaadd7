"""The table `settings`: the settings of an index, its id and its counters."""

import json
from typing import Any

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.settings import Settings
from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.damage import DamagedDatabaseError


class SettingsTable:
    """Names and values of one index."""

    def __init__(self, connection: Connection) -> None:
        """
        Nothing is read yet.

        :param connection: The open database.
        """
        self._connection = connection

    def get(self, name: str) -> Any:
        """
        Return a value, None if it is missing.

        :param name: Its name.
        """
        row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def set(self, name: str, value: Any) -> None:
        """
        Store a value.

        :param name: Its name.
        :param value: The value.
        """
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def number(self, name: str) -> int:
        """
        Return a whole number that every index has.

        :param name: Its name.
        :raises DamagedDatabaseError: If it is missing or not a whole number.
        """
        value = self.get(name)
        if not isinstance(value, int):
            raise DamagedDatabaseError(self._connection.file, f"setting {name!r} is {value!r} instead of a whole number")
        return value

    @property
    def embedding_dim(self) -> int | None:
        """
        Length of the vectors; None until the first one is written.

        :raises DamagedDatabaseError: If it is not a whole number.
        """
        return None if self.get("embedding_dim") is None else self.number("embedding_dim")

    @property
    def index_id(self) -> str:
        """
        The unique id of this index.

        :raises DamagedDatabaseError: If it is missing.
        """
        value = self.get("index_id")
        if not isinstance(value, str) or not value:
            raise DamagedDatabaseError(self._connection.file, f"setting 'index_id' is {value!r} instead of a string")
        return value

    def advance(self, name: str, step: int = 1) -> int:
        """
        Increase a counter. Call inside a transaction.

        :param name: Its name.
        :param step: The increment.
        :returns: Its new value.
        """
        value = self.number(name) + step
        self.set(name, value)
        return value

    def read(self) -> Settings:
        """
        Return the settings of the index.

        :raises DamagedDatabaseError: If a setting is missing or has an invalid value.
        """
        rows = dict(self._connection.execute("SELECT name, value FROM settings"))
        missing = [name for name in ("similarity", "keyword_engine", "language") if rows.get(name) is None]
        if missing:
            raise DamagedDatabaseError(self._connection.file, f"setting {missing[0]!r} is missing")
        try:
            return Settings.from_rows(rows)
        except (InvalidValueError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise DamagedDatabaseError(self._connection.file, f"the settings cannot be read: {error}") from error
