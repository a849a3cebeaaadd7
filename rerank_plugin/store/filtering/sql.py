"""
Haystack's metadata filters as SQL.

SQLite cannot decide every comparison as `haystack.utils.filters.document_matches_filter` does: dates in free formats,
lists, the last digit of a float. Each condition therefore becomes a pair of SQL conditions: rows that match for sure, and
rows that may match. Only the rows in between are read and passed to Haystack's own function.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from rerank_plugin.store.filtering.shape import Node
from rerank_plugin.store.filtering.values import around, as_date, days_near, fits_sqlite, is_unicode, json_path, may_be_date

# SQLite's parser has a stack of 100 entries, and a level takes five: deeper filters are evaluated in Python.
_MAX_LEVELS = 10
# An SQLite expression may be nested 1,000 deep, and the depth of "a OR b OR c" is its number of terms.
_MAX_COMPARISONS = 300
# With more days than this, every string that looks like a date is compared in Python.
_MAX_DAYS = 10_000
# Time zones shift a date by up to two days, and "24:00" means the next one.
_DAYS_APART = 3

_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
# Dates without a time zone whose first ten characters sort as strings in the order of time.
_SORTABLE_DATES = (_DAY, *(f"{_DAY}[T ]{hour}:[0-5][0-9]:[0-5][0-9]" for hour in ("[01][0-9]", "2[0-3]")))
_WHOLE = "('integer', 'true', 'false')"


class Bounds(NamedTuple):
    """Two SQL conditions, 0 or 1 and never NULL: rows that match for sure, and rows that may match."""

    surely: str
    maybe: str


_UNDECIDED = Bounds("0", "1")


class Column(NamedTuple):
    """SQL for the value of a filter's field, and for its JSON type."""

    value: str
    type: str


def translate(node: Node) -> tuple[Bounds, dict[str, Any]]:
    """
    Return a filter in SQL, and the values of its named parameters.

    :param node: A filter, checked.
    """
    translator = _Translator()
    bounds = translator.node(node, 0)
    return (bounds, translator.parameters) if translator.comparisons <= _MAX_COMPARISONS else (_UNDECIDED, {})


class _Translator:
    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.comparisons = 0

    def node(self, node: Node, depth: int) -> Bounds:
        if depth > _MAX_LEVELS or self.comparisons > _MAX_COMPARISONS:
            return _UNDECIDED
        if "field" in node:
            self.comparisons += 1
            return self._comparison(node)
        children = [self.node(condition, depth + 1) for condition in node["conditions"]]
        if node["operator"] == "OR":
            return _combine(" OR ", children, empty="0")
        every = _combine(" AND ", children, empty="1")
        return _not(every) if node["operator"] == "NOT" else every

    def _comparison(self, node: Node) -> Bounds:
        operator, value = node["operator"], node["value"]
        column = self._column(node["field"])
        if column is None:
            return _UNDECIDED
        if operator in ("==", "!="):
            equal = self._equal(column, value)
            return equal if operator == "==" else _not(equal)
        if operator in ("in", "not in"):
            member = self._member(column, value)
            return member if operator == "in" else _not(member)
        return self._ordered(column, operator, value)

    def _column(self, field: str) -> Column | None:
        """Return the SQL for a field, None if only Haystack can resolve the field."""
        if field in ("id", "content"):
            return Column(f"d.{field}", f"typeof(d.{field})")
        meta_path = json_path(field)
        if meta_path is None:
            return None
        path = self._bind(meta_path)
        return Column(f"json_extract(d.meta, {path})", f"json_type(d.meta, {path})")

    def _equal(self, column: Column, value: Any) -> Bounds:
        if value is None:
            return _exactly(f"{column.value} IS NULL")
        if isinstance(value, (bool, int, float)):
            return self._equal_number(column, value)
        if isinstance(value, (str, datetime)):
            return self._equal_text(column, value)
        if isinstance(value, (list, dict)):
            return _between("0", f"{column.type} = '{'array' if isinstance(value, list) else 'object'}'")
        return _UNDECIDED

    def _equal_text(self, column: Column, value: str | datetime) -> Bounds:
        dated = f"{column.type} = 'text' AND {self._glob(column, _DAY + '*')}"
        if isinstance(value, datetime):
            return _between("0", dated)
        if not is_unicode(value):
            return _UNDECIDED
        equal = f"{column.type} = 'text' AND {column.value} = {self._bind(value)}"
        return _between(equal, f"({equal}) OR {dated}") if may_be_date(value) else _exactly(equal)

    def _equal_number(self, column: Column, value: float) -> Bounds:
        if not fits_sqlite(value):
            return _UNDECIDED
        whole = f"{column.type} IN {_WHOLE} AND {column.value} = {self._bind(value)}"
        low, high = (self._bind(bound) for bound in around(value))
        return _between(whole, f"({whole}) OR {column.type} = 'real' AND {column.value} BETWEEN {low} AND {high}")

    def _member(self, column: Column, values: list[Any]) -> Bounds:
        """Return the bounds of "equals one of the values", with one lookup per type however many values there are."""
        if not all(value is None or isinstance(value, (str, datetime, bool, int, float, list, dict)) for value in values):
            return _UNDECIDED
        alternatives = [
            *([_exactly(f"{column.value} IS NULL")] if None in values else []),
            *self._numbers(column, [value for value in values if isinstance(value, (int, float))]),
            *self._texts(column, [value for value in values if isinstance(value, str)]),
            *self._dates(column, [value for value in values if isinstance(value, (str, datetime))]),
        ]
        for kind, name in ((list, "array"), (dict, "object")):
            if any(isinstance(value, kind) for value in values):
                alternatives.append(_between("0", f"{column.type} = '{name}'"))
        return _combine(" OR ", alternatives, empty="0")

    def _numbers(self, column: Column, numbers: list[float]) -> list[Bounds]:
        if not numbers:
            return []
        whole = {int(number) for number in numbers if fits_sqlite(number) and number == int(number)}
        # Equal floats were written with the same digits, which SQLite parses to the same, if slightly different, number.
        real = {as_float for number in numbers if (as_float := _exact_float(number)) is not None}
        in_whole = f"{column.type} IN {_WHOLE} AND {self._listed(column, filter(fits_sqlite, whole))}"
        return [_between(in_whole, f"({in_whole}) OR {column.type} = 'real' AND {self._listed(column, real)}")]

    def _texts(self, column: Column, texts: list[str]) -> list[Bounds]:
        # No row that is evaluated in SQL contains invalid Unicode or a NUL character.
        stored = {text for text in texts if is_unicode(text) and "\0" not in text}
        return [_exactly(f"{column.type} = 'text' AND {self._listed(column, stored)}")] if stored else []

    def _dates(self, column: Column, values: list[str | datetime]) -> list[Bounds]:
        dates = (value.isoformat() if isinstance(value, datetime) else value for value in values)
        starts = {date[:10] for date in dates if may_be_date(date)}
        days = {day for start in starts for day in days_near(start, _DAYS_APART)}
        if not days:
            return []
        dated = f"{column.type} = 'text' AND {self._glob(column, _DAY + '*')}"
        if len(days) <= _MAX_DAYS:
            dated += f" AND {self._listed(column._replace(value=f'substr({column.value}, 1, 10)'), days)}"
        return [_between("0", dated)]

    def _ordered(self, column: Column, operator: str, value: Any) -> Bounds:
        if value is None:
            return Bounds("0", "0")
        # Values that cannot be ordered relative to this one stay undecided, so that Haystack raises its FilterError.
        if isinstance(value, (bool, int, float)) and fits_sqlite(value):
            low, high = (self._bind(bound) for bound in around(value))
            strict, loose = (high, low) if operator.startswith(">") else (low, high)
            whole = f"{column.type} IN {_WHOLE} AND {column.value} {operator} {self._bind(value)}"
            real = f"{column.type} = 'real' AND {column.value} {operator}"
            other = f"{column.type} IN ('text', 'array', 'object')"
            return _between(f"({whole}) OR {real} {strict}", f"({whole}) OR ({real} {loose}) OR {other}")
        moment = as_date(value)
        if moment is None:
            return _between("0", f"coalesce({column.type}, 'null') <> 'null'")
        # By local time: Haystack gives a date without a time zone that of the other date.
        dates = " OR ".join(self._glob(column, pattern) for pattern in _SORTABLE_DATES)
        date = f"coalesce({column.type} = 'text' AND ({dates}), 0)"
        prefix, bound = f"substr({column.value}, 1, 10)", self._bind(moment.date().isoformat())
        other = f"coalesce({column.type}, 'null') <> 'null' AND NOT {date}"
        return _between(
            f"{date} AND {prefix} {operator[0]} {bound}", f"({date} AND {prefix} {operator[0]}= {bound}) OR {other}"
        )

    def _listed(self, column: Column, values: Iterable[Any]) -> str:
        return f"{column.value} IN (SELECT value FROM json_each({self._bind(json.dumps(list(values)))}))"  # noqa: S608

    def _glob(self, column: Column, pattern: str) -> str:
        return f"{column.value} GLOB {self._bind(pattern)}"

    def _bind(self, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"


def _exactly(condition: str) -> Bounds:
    return _between(condition, condition)


def _between(surely: str, maybe: str) -> Bounds:
    # A comparison with a missing value is NULL in SQL, and NOT NULL is NULL again.
    return Bounds(f"coalesce({surely}, 0)", f"coalesce({maybe}, 0)")


def _not(bounds: Bounds) -> Bounds:
    return Bounds(f"NOT {bounds.maybe}", f"NOT {bounds.surely}")


def _combine(operator: str, children: list[Bounds], empty: str) -> Bounds:
    surely, maybe = ([getattr(child, name) for child in children] for name in Bounds._fields)
    return Bounds(_join(operator, surely) or empty, _join(operator, maybe) or empty)


def _join(operator: str, conditions: list[str]) -> str:
    return f"({operator.join(conditions)})" if len(conditions) > 1 else "".join(conditions)


def _exact_float(number: float) -> float | None:
    """Return a number as a float, None if it has no exact float that JSON can represent."""
    try:
        as_float = float(number)
    except OverflowError:
        return None
    return as_float if as_float == number and fits_sqlite(as_float) else None
