"""Filters on the rows of the database, with the semantics of Haystack's filters."""

from typing import Any

from haystack.dataclasses import Document
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

from rerank_plugin.checks import shown
from rerank_plugin.store.filtering.membership import LongList, long_lists, shortened
from rerank_plugin.store.filtering.shape import check, fields_of, merge
from rerank_plugin.store.filtering.sql import translate


class RowFilter:
    """A checked filter: evaluated in SQL as far as SQL can decide, and by Haystack's own function otherwise."""

    def __init__(self, filters: dict[str, Any]) -> None:
        """
        Check and translate a filter.

        :param filters: Haystack filters; not empty.
        :raises FilterError: If they do not have the structure that Haystack defines, or exceed a size limit.
        """
        check(filters)
        self.filters = merge(filters)
        (self.surely, self.maybe), self.parameters = translate(self.filters)
        self._lists: dict[int, LongList] | None = None

    @property
    def needs_embedding(self) -> bool:
        """Whether `matches` uses the embedding, so that documents must be read with it."""
        return "embedding" in fields_of(self.filters)

    def matches(self, document: Document) -> bool:
        """
        Return whether a document matches, by Haystack's own function.

        :param document: The document.
        :raises FilterError: If its values cannot be compared with those of the filter.
        """
        if self._lists is None:
            self._lists = long_lists(self.filters)
        try:
            return document_matches_filter(
                shortened(self.filters, self._lists, document) if self._lists else self.filters, document
            )
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise FilterError(
                f"filters {shown(self.filters)} cannot be applied to document {shown(document.id)}: {error}"
            ) from error
