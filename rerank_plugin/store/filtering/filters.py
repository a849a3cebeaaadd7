"""
Haystack's metadata filters as SQL. The only file that knows what a filter dictionary looks like.

SQLite cannot decide every comparison as `haystack.utils.filters.document_matches_filter` does: dates in free formats,
lists, the last digit of a float. So each condition becomes a pair of SQL conditions: rows that match for sure, and rows
that may match. Only the rows between the two are read and decided by Haystack's own function.
"""

import json
import math
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from haystack.dataclasses import Document
from haystack.errors import FilterError
from haystack.utils.filters import COMPARISON_OPERATORS, LOGICAL_OPERATORS, document_matches_filter

_MAX_DEPTH = 100
# Larger conditions would pass the limits of older SQLite versions; they are decided in Python.
_MAX_PARAMETERS = 900
_MAX_ALTERNATIVES = 100

_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
# Dates without a time zone that sort as text, by their first ten characters, as they sort in time.
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


class RowFilter:
    """A filter, checked and translated."""

    def __init__(self, filters: dict[str, Any]) -> None:
        """
        Check and translate a filter.

        :param filters: Haystack filters; not empty.
        :raises FilterError: If they do not have the shape that Haystack defines.
        """
        _check(filters, depth=0)
        translator = _Translator()
        bounds = translator.node(filters)
        small = len(translator.parameters) <= _MAX_PARAMETERS
        self.surely, self.maybe = bounds if small else _UNDECIDED
        self.parameters = translator.parameters if small else {}
        self.filters = filters

    @property
    def needs_embedding(self) -> bool:
        """Whether `matches` looks at a field that only documents read with their embedding have."""
        return "'embedding'" in repr(self.filters)

    def matches(self, document: Document) -> bool:
        """
        Return what Haystack says about one document.

        :param document: The document.
        :raises FilterError: If its values cannot be compared with those of the filter.
        """
        try:
            return document_matches_filter(self.filters, document)
        except TypeError as error:
            raise FilterError(f"filters {self.filters} do not suit document {document.id!r}: {error}") from error


def _check(node: Any, depth: int) -> None:
    if not isinstance(node, dict):
        raise FilterError(f"a filter must be a dictionary, got {node!r}")
    if depth > _MAX_DEPTH:
        raise FilterError(f"filters may be nested {_MAX_DEPTH} levels deep, these are deeper")
    needed = ("field", "operator", "value") if "field" in node else ("operator", "conditions")
    for key in needed:
        if key not in node:
            raise FilterError(f"{key!r} is missing in the filter {node!r}: it needs {', '.join(needed)}")
    operator = node["operator"]
    operators = COMPARISON_OPERATORS if "field" in node else LOGICAL_OPERATORS
    if not isinstance(operator, str) or operator not in operators:
        raise FilterError(f"unknown operator {operator!r} in the filter {node!r}; choose one of {list(operators)}")
    if "field" in node:
        _check_comparison(node)
    elif not isinstance(node["conditions"], list):
        raise FilterError(f"'conditions' must be a list of filters in {node!r}")
    else:
        for condition in node["conditions"]:
            _check(condition, depth + 1)


def _check_comparison(node: dict[str, Any]) -> None:
    operator, value = node["operator"], node["value"]
    if not isinstance(node["field"], str):
        raise FilterError(f"'field' must be a text in the filter {node!r}")
    if operator in ("in", "not in") and not isinstance(value, list):
        raise FilterError(f"operator {operator!r} needs a list as value, got {value!r} in {node!r}")
    if operator in (">", ">=", "<", "<=") and isinstance(value, (list, tuple, dict, set)):
        raise FilterError(f"operator {operator!r} needs a number or a date as value, got {value!r} in {node!r}")


class _Translator:
    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}

    def node(self, node: dict[str, Any]) -> Bounds:
        if "field" in node:
            return self._comparison(node)
        children = [self.node(condition) for condition in node["conditions"]]
        if node["operator"] == "OR":
            return _combine(" OR ", children, empty="0")
        every = _combine(" AND ", children, empty="1")
        return _not(every) if node["operator"] == "NOT" else every

    def _comparison(self, node: dict[str, Any]) -> Bounds:
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
        """Return the SQL for a field, None if only Haystack knows what the field means."""
        if field in ("id", "content"):
            return Column(f"d.{field}", f"typeof(d.{field})")
        found = json_path(field)
        if found is None:
            return None
        path = self._bind(found)
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
        """Return the bounds of "equals one of the values"; plain texts and whole numbers are looked up in one go."""
        texts, whole, others = [], [], []
        for value in values:
            if isinstance(value, str) and not may_be_date(value) and "\0" not in value and is_unicode(value):
                texts.append(value)
            elif isinstance(value, int) and fits_sqlite(value):
                whole.append(int(value))
            else:
                others.append(value)
        if len(others) > _MAX_ALTERNATIVES:
            return _UNDECIDED
        alternatives = [self._equal(column, value) for value in others]
        if texts:
            alternatives.append(_exactly(f"{column.type} = 'text' AND {self._listed(column, texts)}"))
        if whole:
            found = f"{column.type} IN {_WHOLE} AND {self._listed(column, whole)}"
            alternatives.append(_between(found, f"({found}) OR {column.type} = 'real'"))
        return _combine(" OR ", alternatives, empty="0")

    def _ordered(self, column: Column, operator: str, value: Any) -> Bounds:
        if value is None:
            return Bounds("0", "0")
        # Whatever cannot be ordered beside the value stays in question, so that Haystack raises its FilterError for it.
        if isinstance(value, (bool, int, float)) and fits_sqlite(value):
            low, high = (self._bind(bound) for bound in around(value))
            strict, loose = (high, low) if operator.startswith(">") else (low, high)
            whole = f"{column.type} IN {_WHOLE} AND {column.value} {operator} {self._bind(value)}"
            real = f"{column.type} = 'real' AND {column.value} {operator}"
            other = f"{column.type} IN ('text', 'array', 'object')"
            return _between(f"({whole}) OR {real} {strict}", f"({whole}) OR ({real} {loose}) OR {other}")
        day = _day(value)
        if day is None:
            return _between("0", f"coalesce({column.type}, 'null') <> 'null'")
        dates = " OR ".join(self._glob(column, pattern) for pattern in _SORTABLE_DATES)
        date = f"coalesce({column.type} = 'text' AND ({dates}), 0)"
        prefix, bound = f"substr({column.value}, 1, 10)", self._bind(day)
        other = f"coalesce({column.type}, 'null') <> 'null' AND NOT {date}"
        return _between(
            f"{date} AND {prefix} {operator[0]} {bound}", f"({date} AND {prefix} {operator[0]}= {bound}) OR {other}"
        )

    def _listed(self, column: Column, values: list[Any]) -> str:
        return f"{column.value} IN (SELECT value FROM json_each({self._bind(json.dumps(values))}))"  # noqa: S608

    def _glob(self, column: Column, pattern: str) -> str:
        return f"{column.value} GLOB {self._bind(pattern)}"

    def _bind(self, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"


def json_path(field: str) -> str | None:
    """
    Return where a field stands in the meta, as SQLite writes it; None if it is no field of the meta, or has no such path.

    :param field: Name of the field in a filter.
    """
    keys = field.split(".")
    if keys[0] == "meta" and len(keys) > 1:
        keys = keys[1:]
    elif len(keys) > 1 or field in {f.name for f in fields(Document)}:
        return None
    # In a path of SQLite a key stands as JSON writes it: one that JSON has to escape cannot be asked for.
    if any(not key or json.dumps(key, ensure_ascii=False) != f'"{key}"' or not is_unicode(key) for key in keys):
        return None
    return "$" + "".join(f'."{key}"' for key in keys)


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
    """Join as a balanced tree: SQLite limits the depth of an expression to 1,000."""
    if len(conditions) < 2:
        return "".join(conditions)
    middle = len(conditions) // 2
    return f"({_join(operator, conditions[:middle])}{operator}{_join(operator, conditions[middle:])})"


def fits_sqlite(value: float) -> bool:
    """
    Return whether SQLite can hold a number as it is.

    :param value: The number.
    """
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def around(value: float) -> tuple[float, float]:
    """
    Return numbers just below and above: SQLite may read a float from JSON a little off.

    :param value: The number.
    """
    margin = abs(float(value)) * 1e-12 + 1e-300
    return float(value) - margin, float(value) + margin


def may_be_date(text: str) -> bool:
    """
    Return whether Haystack may take a text for a date, so that other texts can be equal to it.

    :param text: The text.
    """
    return text[4:5] == "-" and text[7:8] == "-"


def _day(value: Any) -> str | None:
    """
    Return the day of a date as YYYY-MM-DD, None for everything else.

    A time zone does not matter: Haystack compares a date without one by the clock on the wall.
    """
    try:
        date = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return date.date().isoformat() if isinstance(date, datetime) else None


def is_unicode(text: str) -> bool:
    """
    Return whether a text can be stored as UTF-8.

    :param text: The text.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
