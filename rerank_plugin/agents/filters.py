"""Filters that a language model can write: a JSON schema of the fields of an index, and the way to Haystack's filters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError

# Not a type of Haystack's stores: a keyword whose values are ISO dates, which have an order.
DATE = "date"
EQUAL = ["==", "!="]
LIST = ["in", "not in"]
ORDER = [">", ">=", "<", "<="]
TYPES = {"int": "integer", "float": "number", "boolean": "boolean", "keyword": "string", DATE: "string"}

# A field with at most so many values names them all in the schema.
MOST_VALUES = 20
# Fields in the schema; longer schemas cost more than they help. The description names those that are left out.
MOST_FIELDS = 20


@dataclass(frozen=True)
class Field:
    """
    A metadata field of an index.

    :param name: Its name, without the prefix `meta.`.
    :param kind: `keyword`, `int`, `float` or `boolean`, as Haystack's stores name it, or `date`.
    :param values: All its values, if they are few; otherwise empty.
    """

    name: str
    kind: str
    values: Sequence[Any] = ()


def fields_of(store: Any, *, most_documents: int = 50_000) -> list[Field]:
    """
    Return the metadata fields of a document store, and the values of those that have few.

    :param store: A document store of Haystack's protocol.
    :param most_documents: Values are listed only of stores with at most so many documents: others are read from end to end.
    :returns: The fields, by name; empty if the store cannot tell.
    """
    if not hasattr(store, "get_metadata_fields_info"):
        return []
    kinds = {name.removeprefix("meta."): str(info.get("type")) for name, info in store.get_metadata_fields_info().items()}
    kinds = {name: kind for name, kind in sorted(kinds.items()) if kind in TYPES and name != "content"}
    if not hasattr(store, "get_metadata_field_unique_values") or store.count_documents() > most_documents:
        return [Field(name, kind) for name, kind in kinds.items()]
    fields = []
    for name, kind in kinds.items():
        values, count = store.get_metadata_field_unique_values(name, size=MOST_VALUES)
        if not all(isinstance(value, str | int | float | bool) for value in values):
            continue  # lists and objects cannot be compared
        is_date = kind == "keyword" and bool(values) and all(map(_is_date, values))
        fields.append(Field(name, DATE if is_date else kind, values if count == len(values) and not is_date else ()))
    return fields


def filters_schema(fields: Sequence[Field]) -> dict[str, Any]:
    """
    Return the JSON schema of a list of conditions, all of which a document must meet.

    :param fields: The fields of the index; empty: any name is allowed.
    """
    listed = fields[:MOST_FIELDS]
    description = "Conditions on the metadata; a document must meet all of them. Leave out unless the question asks for it."
    if len(fields) > len(listed):
        description += f" Further fields: {', '.join(field.name for field in fields[MOST_FIELDS:])}."
    items = [_condition(field) for field in listed]
    if not fields or len(fields) > len(listed):
        items.append(_any_condition())
    return {"type": "array", "description": description, "items": items[0] if len(items) == 1 else {"anyOf": items}}


def _is_date(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _condition(field: Field) -> dict[str, Any]:
    kind = TYPES[field.kind]
    value: dict[str, Any] = {"type": kind}
    if field.kind == DATE:
        value["description"] = "An ISO date, such as 2026-05-31."
    if field.values:
        value["enum"] = list(field.values)
    operators = [*EQUAL, *LIST] if field.kind in ("keyword", "boolean") else [*EQUAL, *ORDER, *LIST]
    return _object(
        {
            "field": {"type": "string", "const": field.name},
            "operator": {"type": "string", "enum": operators},
            "value": {"anyOf": [value, {"type": "array", "items": value}]},
        }
    )


def _any_condition() -> dict[str, Any]:
    return _object(
        {
            "field": {"type": "string", "description": "Name of a metadata field."},
            "operator": {"type": "string", "enum": [*EQUAL, *ORDER, *LIST]},
            "value": {"description": "A value, or a list of values for `in` and `not in`."},
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def haystack_filters(conditions: Any, fields: Sequence[Field] = ()) -> dict[str, Any] | None:
    """
    Return Haystack's filters for what a language model wrote.

    :param conditions: A list of conditions as in `filters_schema`, or Haystack filters, which are returned as they are;
        `None` or empty: no filters.
    :param fields: The fields of the index; empty: any name is allowed.
    :returns: The filters.
    :raises InvalidValueError: If a condition is malformed, or the index has no such field. The message helps a model to mend
        it.
    """
    if isinstance(conditions, str):
        conditions = _parsed(conditions)  # some clients send objects as JSON in a string
    if not conditions:
        return None
    if isinstance(conditions, Mapping):
        return dict(conditions)
    if not isinstance(conditions, list):
        raise InvalidValueError(f"filters must be a list of conditions, got {shown(conditions)}")
    known = {field.name for field in fields}
    checked = [_checked(number, condition, known) for number, condition in enumerate(conditions, start=1)]
    return checked[0] if len(checked) == 1 else {"operator": "AND", "conditions": checked}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _checked(number: int, condition: Any, known: set[str]) -> dict[str, Any]:
    place = f"filters: condition {number}"
    if not isinstance(condition, Mapping) or not {"field", "operator", "value"} <= set(condition):
        raise InvalidValueError(f"{place} must have field, operator and value, got {shown(condition)}")
    name, operator, value = (condition[key] for key in ("field", "operator", "value"))
    if not isinstance(name, str) or (known and name.removeprefix("meta.") not in known):
        raise InvalidValueError(f"{place}: the index has no field {shown(name)}: choose one of {sorted(known)}")
    if operator not in (*EQUAL, *ORDER, *LIST):
        raise InvalidValueError(f"{place}: unknown operator {shown(operator)}: choose one of {[*EQUAL, *ORDER, *LIST]}")
    if (operator in LIST) != isinstance(value, list):
        wanted = "a list of values" if operator in LIST else "a single value"
        raise InvalidValueError(f"{place}: operator {operator!r} needs {wanted}, got {shown(value)}")
    return {"field": f"meta.{name.removeprefix('meta.')}", "operator": operator, "value": value}
