"""
Checks of values passed by a caller. Each raises an InvalidValueError that names the parameter, the value and the remedy.

Booleans do not count as numbers here, although `True` is an int in Python: `top_k=True` is a mistake.
"""

from collections.abc import Collection
from math import inf, isfinite
from typing import Any

from rerank_plugin.errors import InvalidValueError

_MAX_SHOWN = 80


def shown(value: Any) -> str:
    """Return a value as shown in an error message: on one line, and shortened."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the repr of a caller's class, or too deep a nesting
        return f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({type(value).__name__})"


def check_count(name: str, value: Any, *, least: int = 1, most: float = inf) -> int:
    """
    Check a whole number.

    :param name: Name of the parameter.
    :param value: The value.
    :param least: The smallest allowed value.
    :param most: The greatest allowed value.
    :returns: The value.
    :raises InvalidValueError: If it is not a whole number, or out of range.
    """
    limits = f"of at least {least}" if most == inf else f"from {least} to {most}"
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidValueError(f"{name} must be a whole number {limits}, got {shown(value)}")
    return value


def check_number(name: str, value: Any, *, least: float = -inf, most: float = inf, above: float = -inf) -> float:
    """
    Check a finite number.

    :param name: Name of the parameter.
    :param value: The value.
    :param least: The smallest allowed value.
    :param most: The greatest allowed value.
    :param above: The value must be greater than this.
    :returns: The value as a float.
    :raises InvalidValueError: If it is not a finite number, or out of range.
    """
    limits = ""
    if above > -inf:
        limits = f" above {above:g}"
    elif least > -inf:
        limits = f" of at least {least:g}" if most == inf else f" from {least:g} to {most:g}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not isfinite(value) or not (least <= value <= most and value > above):
        raise InvalidValueError(f"{name} must be a finite number{limits}, got {shown(value)}")
    return float(value)


def check_flag(name: str, value: Any) -> bool:
    """
    Check a boolean.

    :param name: Name of the parameter.
    :param value: The value.
    :returns: The value.
    :raises InvalidValueError: If it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise InvalidValueError(f"{name} must be true or false, got {shown(value)}")
    return value


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """
    Check that a value is one of several choices.

    :param name: Name of the parameter.
    :param value: The value.
    :param choices: The allowed values.
    :raises InvalidValueError: If it is none of them.
    """
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise InvalidValueError(f"unknown {name} {shown(value)}: choose one of {list(choices)}")


def check_text(name: str, value: Any, *, empty: bool = False) -> str:
    """
    Check a string.

    :param name: Name of the parameter.
    :param value: The value.
    :param empty: Whether it may be empty, or only white space.
    :returns: The string.
    :raises InvalidValueError: If it is not a string, is empty, or is not valid Unicode (it contains a lone surrogate, which
        UTF-8 cannot encode).
    """
    if not isinstance(value, str):
        raise InvalidValueError(f"{name} must be a string, got {shown(value)}")
    if not empty and not value.strip():
        raise InvalidValueError(f"{name} is empty: pass a text with at least one word")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValueError(
            f"{name} is not valid Unicode (character {error.start} is a lone surrogate): decode its source with "
            "errors='replace'"
        ) from None
    return value
