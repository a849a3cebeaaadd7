"""Damage to the source-of-truth database, which cannot be rebuilt from anything else."""

from pathlib import Path

from rerank_plugin.errors import StoreError

REMEDY = "put a backup in its place, or index the documents again into a new folder"


class DamagedDatabaseError(StoreError):
    """The database of an index is corrupt, or has lost acknowledged changes."""

    def __init__(self, file: Path | None, damage: str, remedy: str = REMEDY) -> None:
        """
        Compose the message.

        :param file: The database; None for one in memory.
        :param damage: What is wrong with it.
        :param remedy: What to do about it.
        """
        super().__init__(f"{file or 'the index in memory'} is damaged ({damage}): {remedy}")
