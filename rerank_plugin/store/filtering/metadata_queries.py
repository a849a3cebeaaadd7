"""The questions about metadata that Haystack lets one ask a document store."""

from abc import ABC, abstractmethod
from typing import Any

from rerank_plugin.store.filtering import metadata
from rerank_plugin.store.in_thread import in_thread

Filters = dict[str, Any]


class MetadataQueries(ABC):
    """Answers them from the meta of the documents that match."""

    @abstractmethod
    def _metas(self, filters: Filters | None) -> list[dict[str, Any]]:
        """Return the meta of the documents that match, of all without filters."""

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """
        Return how many different values each field has among the documents that match.

        :param filters: Haystack filters; empty for all documents.
        :param metadata_fields: Names of fields, with or without the prefix `meta.`.
        """
        metas = self._metas(filters)
        return {metadata.bare_name(field): metadata.count_unique(metas, field) for field in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return each metadata field and its type: `keyword`, `int`, `float` or `boolean`."""
        return metadata.fields_info(self._metas(None))

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """
        Return the smallest and the largest value of a field, as `min` and `max`; both None if there is no such value.

        :param metadata_field: Name of the field, with or without the prefix `meta.`.
        """
        return metadata.min_max(self._metas(None), metadata_field)

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """
        Return one page of the different values of a field, in the order of their texts.

        :param metadata_field: Name of the field, with or without the prefix `meta.`.
        :param search_term: Only values whose text holds this, upper and lower case alike.
        :param from_: Position of the first value of the page.
        :param size: Values on a page.
        :param filters: Only look at documents that match.
        :returns: The page, and the number of different values on all pages.
        """
        return metadata.unique_values(self._metas(filters), metadata_field, search_term, from_, size)

    count_unique_metadata_by_filter_async = in_thread(count_unique_metadata_by_filter)
    get_metadata_fields_info_async = in_thread(get_metadata_fields_info)
    get_metadata_field_min_max_async = in_thread(get_metadata_field_min_max)
    get_metadata_field_unique_values_async = in_thread(get_metadata_field_unique_values)
