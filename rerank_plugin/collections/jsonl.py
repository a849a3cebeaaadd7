"""
JSON Lines: one object on each line, read strictly.

Python's parser lets through what other readers refuse or read as something else: NaN, numbers too large for a float, an
object that names a key twice, and half of a surrogate pair, which UTF-8 cannot hold. All of them are errors here, because
nothing that is stored, searched or compared afterwards could be right.
"""

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from rerank_plugin.checks import shown
from rerank_plugin.collections.lines import ByteLines, read_lines
from rerank_plugin.errors import InputFileError

# Far below the depth at which Python's or SQLite's own parser gives up, and far beyond any real metadata.
MAX_DEPTH = 100
_LONGEST_NUMBER = 400


def read_jsonl(path: Path, *, stream: ByteLines | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Yield line number and object of each line of a JSON Lines file; blank lines are passed over.

    :param path: The file, UTF-8.
    :param stream: Where its bytes are read from, if it is open already; `None` opens it.
    :returns: Pairs of line number (from 1) and object.
    :raises InputFileError: If the file cannot be read, or a line is no JSON object.
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
    Return a text of a record, empty where it is missing or null.

    :param record: An object of a line.
    :param name: Its key.
    :param place: File and line, for the message.
    :raises InputFileError: If it is something else.
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

    :raises ValueError: If it is not valid JSON (JSONDecodeError), or holds what JSON does not allow.
    """
    # Brackets inside texts are counted too: more than the limit is only a reason to look closer.
    if line.count("[") + line.count("{") > MAX_DEPTH and _depth(line) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels; flatten the record")
    value = json.loads(line, parse_float=_number, parse_int=_integer, parse_constant=_refuse, object_pairs_hook=_object)
    if "\\u" in line:  # the only way into a line of UTF-8
        _check_surrogates(value)
    return value


def _depth(line: str) -> int:
    """Return how deep the arrays and objects of a line are nested; what stands in texts does not count."""
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
        raise ValueError(f"the number {_cut(text)} is too large; write it as a text")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"the number {_cut(text)} is too large; write it as a text")
    return int(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"not valid JSON ({text} is no number that JSON knows); write null or leave it out")


def _cut(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}... ({len(text)} characters)"


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair (\\ud800 to \\udfff), which is no character") from None
