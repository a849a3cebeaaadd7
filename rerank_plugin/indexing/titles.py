"""The title in the markup of a file."""

import codecs
from itertools import pairwise

from rerank_plugin.collections.lines import UTF8_BOM

# A title is at the top. Reading no further bounds the time spent on a large file.
_HEAD_BYTES = 1 << 18
_MAX_TITLE_LENGTH = 1000


def markdown_title(data: bytes) -> str:
    """
    Return the text of the first top-level heading (`# Title`, or a line underlined with `===`) of a Markdown file.

    :param data: The file, UTF-8.
    :returns: The title, empty if there is none.
    """
    from markdown_it import MarkdownIt

    # Parse blocks only: parsing all links and emphasis of the text would take most of the time.
    parser = MarkdownIt("commonmark").disable("inline")
    tokens = parser.parse(_head(data).decode("utf-8", errors="ignore"))
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h1" and opening.level == 0:
            children = MarkdownIt("commonmark").parseInline(inline.content[:_MAX_TITLE_LENGTH])[0].children or []
            title = _one_line(" ".join(child.content if child.type != "softbreak" else " " for child in children))
            if title:
                return title
    return ""


def html_title(data: bytes) -> str:
    """
    Return the text of the first `<title>` of an HTML file, in the encoding that the file declares.

    :param data: The file.
    :returns: The title, empty if there is none.
    """
    from lxml import etree, html  # type: ignore[import-untyped]

    head = _head(data)
    if not head.strip():
        return ""
    try:
        root = html.document_fromstring(head, parser=html.HTMLParser(encoding=_utf8(head)))
    except (etree.LxmlError, ValueError):
        return ""
    # A <title> inside an <svg> is the title of an image.
    titles = root.xpath("//title[not(ancestor::svg)]")
    return _one_line("".join(titles[0].itertext())[:_MAX_TITLE_LENGTH]) if titles else ""


def _head(data: bytes) -> bytes:
    return data[:_HEAD_BYTES].removeprefix(UTF8_BOM)


def _utf8(head: bytes) -> str | None:
    """Return "utf-8" if the text is valid UTF-8; `None` to use the encoding that the file declares."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # accepts a character that is cut off at the end
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _one_line(text: str) -> str:
    return " ".join(text.split())
