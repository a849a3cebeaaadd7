"""How SQLite and Haystack interpret single values: numbers, strings, dates, field names."""

import json
import math
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from haystack.dataclasses import Document


def json_path(field: str) -> str | None:
    """
    Return the SQLite JSON path of a meta field; None if it is not a field of the meta, or SQLite has no path for it.

    :param field: Name of the field in a filter.
    """
    keys = field.split(".")
    if keys[0] == "meta" and len(keys) > 1:
        keys = keys[1:]
    elif len(keys) > 1 or field in {f.name for f in fields(Document)}:
        return None
    # SQLite compares a key of a path with the raw JSON text, so a key that JSON escapes cannot be addressed.
    if any(not key or json.dumps(key, ensure_ascii=False) != f'"{key}"' or not is_unicode(key) for key in keys):
        return None
    return "$" + "".join(f'."{key}"' for key in keys)


def field_value(document: Document, field: str) -> Any:
    """
    Return the value that Haystack compares (`haystack.utils.filters._comparison_condition`).

    :param document: The document.
    :param field: Name of the field in a filter.
    """
    if "." in field:
        name, *keys = field.split(".")
        value = getattr(document, name, None)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value
    return getattr(document, field) if field in {f.name for f in fields(document)} else document.meta.get(field)


def fits_sqlite(value: float) -> bool:
    """
    Return whether SQLite can store a number without loss.

    :param value: The number.
    """
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def around(value: float) -> tuple[float, float]:
    """
    Return numbers just below and above: SQLite may parse a float in JSON with a small error.

    :param value: The number.
    """
    margin = abs(float(value)) * 1e-12 + 1e-300
    return float(value) - margin, float(value) + margin


def may_be_date(text: str) -> bool:
    """
    Return whether Haystack may parse a string as a date, so that a different string can be equal to it.

    :param text: The text.
    """
    return text[4:5] == "-" and text[7:8] == "-"


def as_date(value: Any) -> datetime | None:
    """
    Return a value as a date, None if it is not one.

    :param value: Value of a filter or of a document.
    """
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return moment if isinstance(moment, datetime) else None


def days_near(text: str, distance: int) -> list[str]:
    """
    Return the days around a day as YYYY-MM-DD; empty if the text is not a day.

    :param text: A day as YYYY-MM-DD.
    :param distance: How many days before and after.
    """
    try:
        day = date.fromisoformat(text).toordinal()
    except ValueError:
        return []
    first, last = max(date.min.toordinal(), day - distance), min(date.max.toordinal(), day + distance)
    return [date.fromordinal(ordinal).isoformat() for ordinal in range(first, last + 1)]


def is_unicode(text: str) -> bool:
    """
    Return whether a string can be encoded as UTF-8.

    :param text: The text.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
