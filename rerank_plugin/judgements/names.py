"""Names and ids that stand in lines, columns and file names of other formats."""

from rerank_plugin.checks import check_text, shown
from rerank_plugin.errors import InvalidValueError

_LONGEST = 200


def is_plain(name: str) -> bool:
    """
    Return whether a text can be a column of a qrels file, for any reader: no white space but blanks, no control characters.

    :param name: The text.
    """
    return bool(name) and name == name.strip() and name.isprintable() and len(name) <= _LONGEST


def check_name(what: str, name: object) -> str:
    """
    Check a name.

    :param what: What it is the name of, for the message.
    :param name: The name.
    :returns: The name.
    :raises InvalidValueError: If it is not one line of printable characters.
    """
    text = check_text(what, name)
    if not is_plain(text):
        raise InvalidValueError(
            f"{what} {shown(text)} must be at most {_LONGEST} printable characters, without tabs, line breaks, or blanks at "
            "its ends"
        )
    return text
