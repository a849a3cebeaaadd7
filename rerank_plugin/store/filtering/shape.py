"""The shape of Haystack's filters: what is a filter, how large it may be, and the same filter with fewer conditions."""

from collections.abc import Iterator
from typing import Any

from haystack.errors import FilterError
from haystack.utils.filters import COMPARISON_OPERATORS, LOGICAL_OPERATORS

from rerank_plugin.checks import shown

Node = dict[str, Any]

# Haystack's own function calls itself four times a level, and Python allows 1,000 calls.
MOST_LEVELS = 100
MOST_CONDITIONS = 10_000
LONGEST_FIELD = 1_000
# A list that holds itself twice doubles at every level.
_MOST_INNER = 1_000_000
# What merges several conditions on one field: operator of the group -> single value, list of values, merged operator.
_MERGED = {"OR": ("==", "in"), "AND": ("!=", "not in")}


def check(filters: Any) -> None:
    """
    Check that filters have the shape that Haystack defines, and are not out of all proportion.

    :param filters: What a caller passed.
    :raises FilterError: If they are not.
    """
    for count, (_, depth) in enumerate(_walk(filters), start=1):
        if count > MOST_CONDITIONS:
            raise FilterError(
                f"filters may have {MOST_CONDITIONS:,} conditions, these have more: give the values of one field as a list, "
                "with the operator 'in' or 'not in'"
            )
        if depth > MOST_LEVELS:
            raise FilterError(
                f"filters may be nested {MOST_LEVELS} levels deep, these are deeper: put conditions under the same operator "
                "side by side in one list"
            )


def _walk(filters: Any) -> Iterator[tuple[Node, int]]:
    """Check node after node, without calling itself: a caller may have nested filters deeper than Python can follow."""
    waiting = [(filters, 0)]
    while waiting:
        node, depth = waiting.pop()
        _check_node(node)
        yield node, depth
        if "field" not in node:
            waiting += [(condition, depth + 1) for condition in reversed(node["conditions"])]


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
        raise FilterError(f"'field' must be a text in the filter {shown(node)}")
    if len(field) > LONGEST_FIELD:
        raise FilterError(
            f"'field' may have {LONGEST_FIELD:,} characters, {shown(field)} has {len(field):,}: name a field of the meta"
        )
    if operator in ("in", "not in") and not isinstance(value, list):
        raise FilterError(f"operator {operator!r} needs a list as value, got {shown(value)} in {shown(node)}")
    if operator in (">", ">=", "<", "<=") and isinstance(value, (list, tuple, dict, set)):
        raise FilterError(f"operator {operator!r} needs a number or a date as value, got {shown(value)} in {shown(node)}")
    _check_depth(value, node)


def _check_depth(value: Any, node: Node) -> None:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, (list, tuple, dict))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (list, tuple, dict))
        ]
        if not level:
            return
        if len(level) > _MOST_INNER:
            break
    raise FilterError(
        f"the value of a filter may be nested {MOST_LEVELS} levels deep, that of {shown(node['field'])} is deeper: compare "
        "a field within it"
    )


def merge(node: Node) -> Node:
    """
    Return the same filter with "a is 1 or a is 2" as "a is in [1, 2]": a list can be looked up at once.

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
    lists = [{"field": field, "operator": several, "value": found} for field, found in values.items()]
    return {"operator": node["operator"], "conditions": lists + kept}


def fields_of(node: Node) -> set[str]:
    """
    Return the names of the fields that a filter looks at.

    :param node: A filter, checked.
    """
    return {inner["field"] for inner, _ in _walk(node) if "field" in inner}
