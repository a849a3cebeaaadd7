"""What a judged collection is, wherever it is kept: files in BEIR layout, or an index and its judgements."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.collections.trec import Qrels


class Dataset(Protocol):
    """Documents, queries, and judgements in one or more splits."""

    @property
    def place(self) -> Path:
        """Where the documents are, for messages."""

    def documents(self) -> Iterator[BeirDocument]:
        """Yield the documents in their order."""

    def queries(self, split: str | None = None) -> dict[str, BeirQuery]:
        """
        Return the queries by id, in their order.

        :param split: Only those that are judged in this split; `None` means all.
        """

    def qrels(self, split: str) -> Qrels:
        """
        Return the judgements of a split: query id -> document id -> grade.

        :param split: Its name.
        """

    def splits(self) -> list[str]:
        """Return the names of the splits that share no query."""

    def fingerprints(self, split: str) -> dict[str, str]:
        """
        Return hashes of what a result depends on: `corpus`, `queries` and `judgements`.

        :param split: Split of the judgements.
        """
