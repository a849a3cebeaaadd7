"""The title of a file: what its own markup calls it, or else its name."""

import codecs
from itertools import pairwise

from rerank_plugin.collections.lines import UTF8_BOM

# A title stands at the top. Looking no further keeps the time that a file takes in proportion to what is indexed of it.
_HEAD_BYTES = 1 << 18
_LONGEST_TITLE = 1000


def markdown_title(data: bytes) -> str:
    """
    Return the text of the first top-level heading (`# Title`, or a line underlined with `===`) of a Markdown file.

    :param data: The file, UTF-8.
    :returns: The title, empty if there is none.
    """
    from markdown_it import MarkdownIt

    # Blocks alone first: parsing all of the text's links and emphasis would take most of the time.
    parser = MarkdownIt("commonmark").disable("inline")
    tokens = parser.parse(_head(data).decode("utf-8", errors="ignore"))
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h1" and opening.level == 0:
            children = MarkdownIt("commonmark").parseInline(inline.content[:_LONGEST_TITLE])[0].children or []
            title = _one_line(" ".join(part.content if part.type != "softbreak" else " " for part in children))
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
    # `*` in front: a <title> inside an <svg> names a picture.
    titles = root.xpath("//title[not(ancestor::svg)]")
    return _one_line("".join(titles[0].itertext())[:_LONGEST_TITLE]) if titles else ""


def _head(data: bytes) -> bytes:
    return data[:_HEAD_BYTES].removeprefix(UTF8_BOM)


def _utf8(head: bytes) -> str | None:
    """Return the name of the encoding if the text is UTF-8; `None`: it is as the file declares."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the cut may have fallen into a character
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _one_line(text: str) -> str:
    return " ".join(text.split())
