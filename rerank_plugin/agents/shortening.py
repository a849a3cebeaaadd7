"""Texts that are too long for a language model: cut at a word, with a mark."""

CUT = " [...]"


def shortened(text: str, characters: int) -> str:
    """
    Return the beginning of a text, with a mark if that is not all.

    :param text: The text.
    :param characters: Maximum number of characters of the text that are kept.
    """
    if len(text) <= characters:
        return text
    kept = text[:characters]
    return (kept.rsplit(maxsplit=1)[0] if " " in kept.strip() else kept) + CUT
