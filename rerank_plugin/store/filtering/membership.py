"""
Hash lookup for filters with long lists of values.

Haystack compares the value of a document with each value of the list in turn, each time trying to parse both as dates:
minutes for a few thousand values. Here each value of the list is stored under keys shared by all values equal to it, so
that Haystack's function, which still decides, is given only the few values that may be equal.
"""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from haystack.dataclasses import Document

from rerank_plugin.store.filtering.shape import MAX_LEVELS, Node
from rerank_plugin.store.filtering.values import as_date, field_value, may_be_date

# Shorter lists are passed on unchanged.
_LONG = 16

Key = tuple[Any, ...]


class LongList:
    """The values of one condition with `in` or `not in`."""

    def __init__(self, values: list[Any]) -> None:
        """
        Group the values by their keys.

        :param values: The values.
        """
        self._values = values
        self._by_key: defaultdict[Key, list[Any]] = defaultdict(list)
        self._unknown: list[Any] = []
        for value in values:
            keys = _keys(value)
            if keys is None:
                self._unknown.append(value)
                continue
            for key in keys:
                # Other keys identify the value, so one of it is enough; different dates may share a local time.
                if key[0] == "date" or not self._by_key[key]:
                    self._by_key[key].append(value)

    def near(self, value: Any) -> list[Any]:
        """
        Return the values of the list that may be equal to a given value.

        :param value: Value of a document.
        """
        keys = _keys(value)
        if keys is None:
            return self._values
        return [*(near for key in keys for near in self._by_key.get(key, ())), *self._unknown]


def long_lists(node: Node) -> dict[int, LongList]:
    """
    Return the long lists of a filter, by the identity of their conditions.

    :param node: A filter, checked.
    """
    if "field" not in node:
        return {key: values for condition in node["conditions"] for key, values in long_lists(condition).items()}
    if node["operator"] in ("in", "not in") and len(node["value"]) > _LONG:
        return {id(node): LongList(node["value"])}
    return {}


def shortened(node: Node, lists: dict[int, LongList], document: Document) -> Node:
    """
    Return a filter with shorter lists that gives the same result for one document.

    :param node: The filter.
    :param lists: Its long lists.
    :param document: The document.
    """
    if "field" not in node:
        return {**node, "conditions": [shortened(condition, lists, document) for condition in node["conditions"]]}
    if id(node) not in lists:
        return node
    return {**node, "value": lists[id(node)].near(field_value(document, node["field"]))}


def _keys(value: Any) -> list[Key] | None:
    """Return keys of which equal values share at least one; None if no such keys are known."""
    frozen = _frozen(value, 0)
    if frozen is None:
        return None
    date = as_date(value)
    if date is None:
        # Haystack reads a few dates that Python does not, such as 2024-05-06T24:00.
        return None if isinstance(value, str) and may_be_date(value) and value[:4].isdigit() else [frozen]
    # A date without a time zone equals any date with the same local time; two dates with time zones are compared in UTC.
    keys: list[Key] = [frozen, ("date", date.replace(tzinfo=None, fold=0))]
    if date.tzinfo is not None:
        try:
            keys.append(("date", date.astimezone(UTC)))
        except OverflowError:  # beyond the range of datetime
            return None
    return keys


def _frozen(value: Any, depth: int) -> Key | None:
    """Return a hashable key that is equal for equal values; None for a type that JSON does not have."""
    if value is None or isinstance(value, (str, bool, int, float, datetime)):
        return ("value", value)
    if depth > MAX_LEVELS or not isinstance(value, (list, dict)):
        return None
    if isinstance(value, list):
        items = [_frozen(inner, depth + 1) for inner in value]
        return None if None in items else ("list", tuple(items))
    pairs = [(key, _frozen(inner, depth + 1)) for key, inner in value.items()]
    return None if any(inner is None for _, inner in pairs) else ("dict", frozenset(pairs))
