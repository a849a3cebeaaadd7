"""
The conditions of a filter that an SQLite index on a meta field can look up.

A filter is evaluated by its SQL and by Haystack (see `filters`). This module extracts necessary conditions, which every
match fulfils, in a form for which SQLite can use an index on the value of one field, so that few rows remain to evaluate.
"""

import json
import math
from typing import Any, NamedTuple

from rerank_plugin.store.filtering.values import around, fits_sqlite, is_unicode, json_path, may_be_date

# With more intervals than this, a lookup is no faster than reading every row.
_MAX_NUMBERS = 50


class Lookup(NamedTuple):
    """
    A condition on the value of one field.

    :param path: Path of the field in the meta, in SQLite's syntax.
    :param condition: SQL with `{value}` in place of the field's value.
    :param parameters: Values of the named parameters in the condition.
    """

    path: str
    condition: str
    parameters: dict[str, Any]


def lookups(node: dict[str, Any]) -> list[Lookup]:
    """
    Return necessary conditions, each fulfilled by every match; equality conditions come before ranges.

    :param node: Haystack filters, checked.
    """
    return sorted(_collect(node), key=lambda lookup: ">=" in lookup.condition or "<=" in lookup.condition)


def _collect(node: dict[str, Any]) -> list[Lookup]:
    if "field" not in node:
        return [lookup for child in node["conditions"] for lookup in _collect(child)] if node["operator"] == "AND" else []
    path = json_path(node["field"])
    if path is None:
        return []
    values = node["value"] if node["operator"] == "in" else [node["value"]]
    if node["operator"] in ("==", "in"):
        condition, parameters = _one_of(values)
    elif node["operator"] in (">", ">=", "<", "<="):
        condition, parameters = _range(node["operator"], node["value"])
    else:
        return []
    return [Lookup(path, condition, parameters)] if condition else []


def _one_of(values: list[Any]) -> tuple[str, dict[str, Any]]:
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, (bool, int, float))]
    plain = all(is_unicode(text) and not may_be_date(text) and "\0" not in text for text in texts)
    if not plain or not _are_numbers(numbers) or len(texts) + len(numbers) < len(values) or not values:
        return "", {}
    parameters: dict[str, Any] = {}
    conditions: list[str] = []
    if texts:
        parameters["texts"] = json.dumps(texts)
        conditions.append("{value} IN (SELECT value FROM json_each(:texts))")
    for i, number in enumerate(numbers):
        parameters[f"low{i}"], parameters[f"high{i}"] = around(number)
        conditions.append(f"{{value}} BETWEEN :low{i} AND :high{i}")
    return " OR ".join(conditions), parameters


def _range(operator: str, value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, (bool, int, float)) or not _are_numbers([value]):
        return "", {}
    low, high = around(value)
    # Strings sort after all numbers. They do not match, but are included so that Haystack raises its error for them.
    if operator.startswith(">"):
        return "{value} >= :low", {"low": low}
    return "{value} <= :high OR {value} >= ''", {"high": high}


def _are_numbers(values: list[float]) -> bool:
    return len(values) <= _MAX_NUMBERS and all(fits_sqlite(value) and math.isfinite(value) for value in values)
