"""The structure of Haystack's filters: validation, size limits, and merging of conditions."""

from collections.abc import Iterator
from typing import Any

from haystack.errors import FilterError
from haystack.utils.filters import COMPARISON_OPERATORS, LOGICAL_OPERATORS

from rerank_plugin.checks import shown

Node = dict[str, Any]

# Haystack's own function makes four nested calls per level, and Python allows 1,000.
MAX_LEVELS = 100
MAX_CONDITIONS = 10_000
MAX_FIELD_LENGTH = 1_000
# A list that contains itself twice doubles at every level.
_MAX_INNER = 1_000_000
# Conditions on one field that can be merged: operator of the group -> operator for a single value, operator for a list.
_MERGED = {"OR": ("==", "in"), "AND": ("!=", "not in")}


def check(filters: Any) -> None:
    """
    Check that filters have the structure that Haystack defines, and respect the size limits.

    :param filters: The filters passed by a caller.
    :raises FilterError: If they do not.
    """
    for count, (_, depth) in enumerate(_walk(filters), start=1):
        if count > MAX_CONDITIONS:
            raise FilterError(
                f"filters may have {MAX_CONDITIONS:,} conditions, these have more: pass the values of one field as a list, "
                "with the operator 'in' or 'not in'"
            )
        if depth > MAX_LEVELS:
            raise FilterError(
                f"filters may be nested {MAX_LEVELS} levels deep, these are deeper: put conditions under the same operator "
                "in one list"
            )


def _walk(filters: Any) -> Iterator[tuple[Node, int]]:
    """Check every node, without recursion: filters may be nested more deeply than Python's recursion limit."""
    pending = [(filters, 0)]
    while pending:
        node, depth = pending.pop()
        _check_node(node)
        yield node, depth
        if "field" not in node:
            pending += [(condition, depth + 1) for condition in reversed(node["conditions"])]


def _check_node(node: Any) -> None:
    if not isinstance(node, dict):
        raise FilterError(f"a filter must be a dictionary, got {shown(node)}")
    needed = ("field", "operator", "value") if "field" in node else ("operator", "conditions")
    for key in needed:
        if key not in node:
            raise FilterError(f"{key!r} is missing in the filter {shown(node)}: it needs {', '.join(needed)}")
    operator = node["operator"]
    operators = COMPARISON_OPERATORS if "field" in node else LOGICAL_OPERATORS
    if not isinstance(operator, str) or operator not in operators:
        raise FilterError(f"unknown operator {shown(operator)} in the filter {shown(node)}; choose one of {list(operators)}")
    if "field" in node:
        _check_comparison(node)
    elif not isinstance(node["conditions"], list):
        raise FilterError(f"'conditions' must be a list of filters in {shown(node)}")


def _check_comparison(node: Node) -> None:
    field, operator, value = node["field"], node["operator"], node["value"]
    if not isinstance(field, str):
        raise FilterError(f"'field' must be a string in the filter {shown(node)}")
    if len(field) > MAX_FIELD_LENGTH:
        raise FilterError(
            f"'field' may have {MAX_FIELD_LENGTH:,} characters, {shown(field)} has {len(field):,}: name a field of the meta"
        )
    if operator in ("in", "not in") and not isinstance(value, list):
        raise FilterError(f"operator {operator!r} needs a list as value, got {shown(value)} in {shown(node)}")
    if operator in (">", ">=", "<", "<=") and isinstance(value, (list, tuple, dict, set)):
        raise FilterError(f"operator {operator!r} needs a number or a date as value, got {shown(value)} in {shown(node)}")
    _check_depth(value, node)


def _check_depth(value: Any, node: Node) -> None:
    level = [value]
    for _ in range(MAX_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, (list, tuple, dict))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (list, tuple, dict))
        ]
        if not level:
            return
        if len(level) > _MAX_INNER:
            break
    raise FilterError(
        f"the value of a filter may be nested {MAX_LEVELS} levels deep, that of {shown(node['field'])} is deeper: compare "
        "a field within it"
    )


def merge(node: Node) -> Node:
    """
    Return an equivalent filter in which "a == 1 or a == 2" is merged into "a in [1, 2]", which needs a single lookup.

    :param node: A filter, checked.
    """
    if "field" in node:
        return node
    conditions = [merge(condition) for condition in node["conditions"]]
    single, several = _MERGED.get(node["operator"], ("", ""))
    values: dict[str, list[Any]] = {}
    kept: list[Node] = []
    for condition in conditions:
        operator = condition["operator"]
        if "field" in condition and operator in (single, several):
            value = condition["value"]
            values.setdefault(condition["field"], []).extend(value if operator == several else [value])
        else:
            kept.append(condition)
    lists = [{"field": field, "operator": several, "value": merged} for field, merged in values.items()]
    return {"operator": node["operator"], "conditions": lists + kept}


def fields_of(node: Node) -> set[str]:
    """
    Return the names of the fields that a filter uses.

    :param node: A filter, checked.
    """
    return {inner["field"] for inner, _ in _walk(node) if "field" in inner}
