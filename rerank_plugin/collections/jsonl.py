"""
A strict reader for JSON Lines: one object on each line.

Python's parser accepts input that other parsers reject or read differently: NaN, numbers too large for a float, duplicate
keys in an object, and lone surrogates, which UTF-8 cannot encode. All of them are errors here, because they could not be
stored, searched or compared correctly.
"""

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from rerank_plugin.checks import shown
from rerank_plugin.collections.lines import ByteLines, read_lines
from rerank_plugin.errors import InputFileError

# Well below the depth at which Python's or SQLite's parser fails, and well above that of real metadata.
MAX_DEPTH = 100
_LONGEST_NUMBER = 400


def read_jsonl(path: Path, *, stream: ByteLines | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Yield line number and object of each line of a JSON Lines file; blank lines are skipped.

    :param path: The file, UTF-8.
    :param stream: The open file; `None` opens `path`.
    :returns: Pairs of line number (from 1) and object.
    :raises InputFileError: If the file cannot be read, or a line is not a JSON object.
    """
    for number, line in read_lines(path, stream=stream):
        try:
            record = _parse(line)
        except json.JSONDecodeError as error:
            raise InputFileError(f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno})") from None
        except ValueError as error:
            raise InputFileError(f"{path}, line {number}: {error}") from None
        if not isinstance(record, dict):
            raise InputFileError(f"{path}, line {number}: expected a JSON object, got {type(record).__name__}")
        yield number, record


def read_text(record: dict[str, Any], name: str, *, place: str) -> str:
    """
    Return a string of a record, empty if it is missing or null.

    :param record: The object of a line.
    :param name: The key.
    :param place: File and line, for the message.
    :raises InputFileError: If the value is not a string.
    """
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputFileError(f"{place}: {name!r} must be a string, got {shown(value)}")
    return value


def _parse(line: str) -> Any:
    """
    Parse a line.

    :raises ValueError: If it is not valid JSON (JSONDecodeError), or contains a value that is rejected here.
    """
    # This cheap count includes brackets inside strings: only if it exceeds the limit is the depth computed.
    if line.count("[") + line.count("{") > MAX_DEPTH and _depth(line) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels; flatten the record")
    value = json.loads(line, parse_float=_number, parse_int=_integer, parse_constant=_refuse, object_pairs_hook=_object)
    if "\\u" in line:  # in valid UTF-8, surrogates can occur only as escapes
        _check_surrogates(value)
    return value


def _depth(line: str) -> int:
    """Return the nesting depth of the arrays and objects of a line, ignoring brackets inside strings."""
    depth = deepest = 0
    inside_text = escaped = False
    for character in line:
        if inside_text:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside_text = False
        elif character == '"':
            inside_text = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in record if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} occurs twice in one object; leave one out")
    return record


def _number(text: str) -> float:
    value = float(text) if len(text) <= _LONGEST_NUMBER else float("inf")
    if not isfinite(value):
        raise ValueError(f"the number {_cut(text)} is too large; write it as a string")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"the number {_cut(text)} is too large; write it as a string")
    return int(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"not valid JSON ({text} is not a JSON number); write null or leave it out")


def _cut(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}... ({len(text)} characters)"


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a string contains a lone surrogate (\\ud800 to \\udfff), which is not a character") from None
