"""The metadata queries of Haystack's document stores, with the results of its InMemoryDocumentStore."""

import json
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from rerank_plugin.store.in_thread import in_thread

Filters = dict[str, Any]
Meta = dict[str, Any]

_TYPES = {bool: "boolean", int: "int", float: "float"}


class MetadataQueries(ABC):
    """Computes them from the meta of the matching documents."""

    @abstractmethod
    def _metas(self, filters: Filters | None) -> list[dict[str, Any]]:
        """Return the meta of the matching documents; of all documents without filters."""

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """
        Return the number of distinct values of each field among the matching documents.

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
        Return one page of the distinct values of a field, ordered by their string form.

        :param metadata_field: Name of the field, with or without the prefix `meta.`.
        :param search_term: Only values whose string form contains this, ignoring case.
        :param from_: Position of the first value of the page.
        :param size: Number of values per page.
        :param filters: Only consider matching documents.
        :returns: The page, and the number of distinct values on all pages.
        """
        return unique_values(self._metas(filters), metadata_field, search_term, from_, size)

    def count_metadata_values(self, filters: Filters | None = None) -> dict[str, list[tuple[Any, int]]]:
        """
        Count the documents that have each value of each metadata field; for facets.

        :param filters: Only consider matching documents; `None` or empty for all.
        :returns: For each field its values (texts, numbers and booleans) with their numbers of documents, the most frequent
            first, equally frequent ones by their string form.
        """
        return value_counts(self._metas(filters))

    count_metadata_values_async = in_thread(count_metadata_values)
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
    :returns: `min` and `max`, both None if the field has neither numbers nor strings, or a mixture of both.
    """
    values = [value for value in _values(metas, field) if isinstance(value, (int, float, str))]
    if not values or len({isinstance(value, str) for value in values}) > 1:
        return {"min": None, "max": None}
    return {"min": min(values), "max": max(values)}


def count_unique(metas: Iterable[Meta], field: str) -> int:
    """
    Return the number of distinct values of a field; 1, 1.0 and True are distinct.

    :param metas: Meta of the documents.
    :param field: Name of the field, with or without the prefix `meta.`.
    """
    return len({_identity(value) for value in _values(metas, field)})


def value_counts(metas: Iterable[Meta]) -> dict[str, list[tuple[Any, int]]]:
    """
    Count how often each value of each field occurs; 1, 1.0 and True are distinct. Lists and dictionaries are passed over.

    :param metas: Meta of the documents.
    """
    columns: dict[str, list[Any]] = defaultdict(list)
    for meta in metas:
        for field, value in meta.items():
            columns[field].append(value)
    counted = {}
    for field, values in columns.items():
        plain = [value for value in values if isinstance(value, (str, int, float))]
        if plain:
            counts = Counter(zip(map(type, plain), plain, strict=True))
            ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0][1])))
            counted[field] = [(value, count) for (_, value), count in ordered]
    return counted


def unique_values(
    metas: Iterable[Meta], field: str, search_term: str | None, start: int, size: int
) -> tuple[list[Any], int]:
    """
    Return one page of the distinct values of a field, ordered by their string form.

    :param metas: Meta of the documents.
    :param field: Name of the field, with or without the prefix `meta.`.
    :param search_term: Keep only values whose string form contains this, ignoring case.
    :param start: Position of the first value.
    :param size: Number of values.
    :returns: The page, and the number of values on all pages.
    """
    values = {_identity(value): value for value in _values(metas, field)}
    if search_term:
        values = {key: value for key, value in values.items() if search_term.lower() in str(value).lower()}
    ordered = sorted(values, key=lambda key: (str(values[key]), key))
    return [values[key] for key in ordered[start : start + size]], len(ordered)


def bare_name(field: str) -> str:
    """
    Return a field without the prefix `meta.`.

    :param field: Name of the field.
    """
    return field.removeprefix("meta.")


def _values(metas: Iterable[Meta], field: str) -> list[Any]:
    """Return the values of a field except None; a dotted name refers to nested dictionaries, as in filters."""
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
    # JSON distinguishes 1, 1.0, true and "1"; Python's equality does not.
    return type(value).__name__, json.dumps(value, sort_keys=True)
