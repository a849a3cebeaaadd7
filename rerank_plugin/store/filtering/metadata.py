"""The questions about metadata that Haystack lets one ask a document store, answered as its InMemoryDocumentStore does."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from rerank_plugin.store.in_thread import in_thread

Filters = dict[str, Any]
Meta = dict[str, Any]

_TYPES = {bool: "boolean", int: "int", float: "float"}


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
        return {bare_name(field): count_unique(metas, field) for field in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return each metadata field and its type: `keyword`, `int`, `float` or `boolean`."""
        return fields_info(self._metas(None))

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """
        Return the smallest and the largest value of a field, as `min` and `max`; both None if there is no such value.

        :param metadata_field: Name of the field, with or without the prefix `meta.`.
        """
        return min_max(self._metas(None), metadata_field)

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
        return unique_values(self._metas(filters), metadata_field, search_term, from_, size)

    count_unique_metadata_by_filter_async = in_thread(count_unique_metadata_by_filter)
    get_metadata_fields_info_async = in_thread(get_metadata_fields_info)
    get_metadata_field_min_max_async = in_thread(get_metadata_field_min_max)
    get_metadata_field_unique_values_async = in_thread(get_metadata_field_unique_values)


def fields_info(metas: Iterable[Meta]) -> dict[str, dict[str, str]]:
    """
    Return the type of each field: boolean, int, float, or keyword for everything else and for mixed types.

    :param metas: Meta of the documents.
    """
    types: dict[str, str] = {}
    for meta in metas:
        for field, value in meta.items():
            if value is None:
                continue
            kind = _TYPES.get(type(value), "keyword")
            known = types.setdefault(field, kind)
            if known != kind:
                types[field] = "float" if {known, kind} == {"int", "float"} else "keyword"
    return {field: {"type": kind} for field, kind in types.items()}


def min_max(metas: Iterable[Meta], field: str) -> dict[str, Any]:
    """
    Return the smallest and the largest value of a field.

    :param metas: Meta of the documents.
    :param field: Name of the field, with or without the prefix `meta.`.
    :returns: `min` and `max`, both None if there is no number and no text, or texts stand beside numbers.
    """
    values = [value for value in _values(metas, field) if isinstance(value, (int, float, str))]
    if not values or len({isinstance(value, str) for value in values}) > 1:
        return {"min": None, "max": None}
    return {"min": min(values), "max": max(values)}


def count_unique(metas: Iterable[Meta], field: str) -> int:
    """
    Return how many different values a field has; 1, 1.0 and True count as different.

    :param metas: Meta of the documents.
    :param field: Name of the field, with or without the prefix `meta.`.
    """
    return len({_identity(value) for value in _values(metas, field)})


def unique_values(
    metas: Iterable[Meta], field: str, search_term: str | None, start: int, size: int
) -> tuple[list[Any], int]:
    """
    Return one page of the different values of a field, in the order of their texts.

    :param metas: Meta of the documents.
    :param field: Name of the field, with or without the prefix `meta.`.
    :param search_term: Keep the values whose text holds this, upper and lower case alike.
    :param start: Position of the first value.
    :param size: Number of values.
    :returns: The page, and the number of all values.
    """
    found = {_identity(value): value for value in _values(metas, field)}
    if search_term:
        found = {key: value for key, value in found.items() if search_term.lower() in str(value).lower()}
    ordered = sorted(found, key=lambda key: (str(found[key]), key))
    return [found[key] for key in ordered[start : start + size]], len(ordered)


def bare_name(field: str) -> str:
    """
    Return a field without the prefix `meta.`.

    :param field: Name of the field.
    """
    return field.removeprefix("meta.")


def _values(metas: Iterable[Meta], field: str) -> list[Any]:
    """Return what the field holds, without None; a dotted name looks into nested dictionaries, as in filters."""
    keys = bare_name(field).split(".")
    values = []
    for meta in metas:
        value: Any = meta
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            values.append(value)
    return values


def _identity(value: Any) -> tuple[str, str]:
    # JSON tells 1, 1.0, true and "1" apart, where Python's equality does not.
    return type(value).__name__, json.dumps(value, sort_keys=True)
