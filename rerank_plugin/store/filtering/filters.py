"""A filter that decides about the rows of the database as Haystack decides about documents."""

from typing import Any

from haystack.dataclasses import Document
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

from rerank_plugin.checks import shown
from rerank_plugin.store.filtering.membership import LongList, long_lists, shortened
from rerank_plugin.store.filtering.shape import check, fields_of, merge
from rerank_plugin.store.filtering.sql import translate


class RowFilter:
    """A filter, checked and translated: in SQL as far as SQL can decide, and as Haystack's own function beyond."""

    def __init__(self, filters: dict[str, Any]) -> None:
        """
        Check and translate a filter.

        :param filters: Haystack filters; not empty.
        :raises FilterError: If they do not have the shape that Haystack defines, or are out of all proportion.
        """
        check(filters)
        self.filters = merge(filters)
        (self.surely, self.maybe), self.parameters = translate(self.filters)
        self._lists: dict[int, LongList] | None = None

    @property
    def needs_embedding(self) -> bool:
        """Whether `matches` looks at a field that only documents read with their embedding have."""
        return "embedding" in fields_of(self.filters)

    def matches(self, document: Document) -> bool:
        """
        Return what Haystack says about one document.

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
            raise FilterError(f"filters {shown(self.filters)} do not suit document {shown(document.id)}: {error}") from error
