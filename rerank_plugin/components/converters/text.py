"""Plain text: paragraphs at blank lines, pages at form feeds."""

import re

from rerank_plugin.components.converters.blocks import Block, FileContent

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def read(data: bytes) -> FileContent:
    """
    Read a plain text.

    :param data: The text, UTF-8.
    :returns: Its paragraphs; with page numbers if form feeds divide it into pages, as in RFCs.
    """
    text = data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return FileContent(text_blocks(text))


def text_blocks(text: str) -> list[Block]:
    """
    Return the paragraphs of a plain text.

    :param text: The text.
    """
    pages = text.split("\f")
    return [
        Block(paragraph.strip("\n"), page=number if len(pages) > 1 else None)
        for number, page in enumerate(pages, start=1)
        for paragraph in _BLANK_LINES.split(page)
        if paragraph.strip()
    ]
