"""
What is shown in a terminal is text, and never commands to the terminal.

Titles, sentences, file names and messages come from documents that anybody may have written. Everything that a command
prints goes through `echo`, `to_json` or `cell`, and so through `printable`.
"""

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

# C0 and C1 controls, which start escape sequences; and marks that reverse the order in which text is shown.
_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_NOT_FOR_TERMINALS = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(value: object, *, lines: bool = False) -> str:
    """
    Make a text safe to show.

    :param value: The text, or what is turned into one.
    :param lines: Keep line breaks. Otherwise the text becomes one line.
    :returns: The text without control characters, and with a replacement character for what is no valid Unicode.
    """
    if lines:
        return "\n".join(printable(line) for line in str(value).split("\n"))
    text = _BREAKS.sub(" ", str(value))
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """
    Write plain values as JSON: exact, with everything escaped that a terminal would obey.

    :param value: The values.
    :param indent: Spaces for each level; `None`: all on one line.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # Such characters can only be inside strings.
    return _NOT_FOR_TERMINALS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def echo(text: str, *, err: bool = False) -> None:
    """
    Print a text.

    :param text: The text; it may have several lines.
    :param err: Print to standard error.
    """
    import typer

    typer.echo(printable(text, lines=True), err=err)


def cell(value: object, style: str = "") -> "Text":
    """
    Make a cell of a table, in which nothing is taken for markup.

    :param value: The text.
    :param style: Rich's name of a style.
    """
    from rich.text import Text

    return Text(printable(value), style=style)
