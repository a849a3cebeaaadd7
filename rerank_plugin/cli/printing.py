"""
Safe output: only text reaches the terminal, never control sequences.

Titles, sentences, file names and messages may come from untrusted documents. Everything that a command prints goes through
`echo`, `to_json` or `cell`, which remove or escape control characters.
"""

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

# C0 and C1 controls, which start escape sequences, and marks that change the direction of text.
_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_NOT_FOR_TERMINALS = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(value: object, *, lines: bool = False) -> str:
    """
    Make a text safe to print.

    :param value: The text, or a value to convert with `str`.
    :param lines: Keep line breaks. Otherwise the text is put on one line.
    :returns: The text without control characters, and with lone surrogates replaced by U+FFFD.
    """
    if lines:
        return "\n".join(printable(line) for line in str(value).split("\n"))
    text = _BREAKS.sub(" ", str(value))
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """
    Return plain values as JSON, with all characters escaped that a terminal could interpret as control characters.

    :param value: The values.
    :param indent: Spaces per level; `None`: all on one line.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # These characters can occur only inside strings.
    return _NOT_FOR_TERMINALS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def echo(text: str, *, err: bool = False) -> None:
    """
    Print a text.

    :param text: The text; it may have several lines.
    :param err: Print to standard error.
    """
    import typer

    typer.echo(printable(text, lines=True), err=err)


def counted(count: int, noun: str) -> str:
    """
    Return a number with its noun, such as "1 file" or "2,000 files".

    :param count: The number.
    :param noun: The noun in the singular; its plural ends in s.
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def cell(value: object, style: str = "") -> "Text":
    """
    Return a table cell whose text is not interpreted as markup.

    :param value: The text.
    :param style: Name of a style of Rich.
    """
    from rich.text import Text

    return Text(printable(value), style=style)
