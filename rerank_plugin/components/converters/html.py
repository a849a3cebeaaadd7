"""HTML: the text of the page under its headings, without navigation; code in fences, tables in Markdown."""

import re
from collections.abc import Iterator
from typing import Any

from rerank_plugin.components.converters.blocks import Block, FileContent, code_block, one_line, table_block
from rerank_plugin.components.converters.encoding import decode

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
# What is not text of the page.
_DROPPED = frozenset(
    "script style template noscript svg math head iframe object nav footer aside form button select textarea input".split()
)
_DROPPED_ROLES = frozenset("navigation banner contentinfo search complementary".split())
# Names of classes and ids by which documentation generators mark navigation.
_DROPPED_NAMES = frozenset(
    "sphinxsidebar related navbar navheader navfooter breadcrumb breadcrumbs headerlink docnav toctree-wrapper sidebar"
    " menu mainmenu toc".split()
)
# What goes on in the line.
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark nobr q rp rt ruby s samp small"
    " span strike strong sub sup time tt u var wbr".split()
)
# Tables of old pages divide the page; a table of data has none of these.
_BLOCKS_IN_LAYOUT = ("h1", "h2", "h3", "table", "pre", "ul", "ol", "p")
_LANGUAGE = re.compile(r"\b(?:language|lang|highlight)-(?!default\b)([\w+#-]{1,20})")
# Elements nested more deeply give their text, but no blocks: a page may not exhaust Python's stack.
_MAX_DEPTH = 200


def read(data: bytes) -> FileContent:
    """
    Read an HTML page.

    :param data: The page, UTF-8 or in the encoding that it declares.
    :returns: Its blocks. The title is that of the page's `<title>`, or else its first heading.
    """
    root = _parse(decode(data, is_markup=True).text)
    if root is None:
        return FileContent([])
    # A <title> inside an <svg> is the title of an image.
    titles = root.xpath("//title[not(ancestor::svg)]")
    title = one_line("".join(titles[0].itertext())) if titles else ""
    parts = root.xpath("//main") or root.xpath("//*[@role='main']") or [root]
    blocks = [block for part in parts if not _is_inside_another(part, parts) for block in element_blocks(part)]
    if not any(not block.level for block in blocks) and parts != [root]:
        blocks = element_blocks(root)
    headings = [block.text for block in blocks if block.level == 1][:1] or [block.text for block in blocks if block.level][
        :1
    ]
    # Sites put their own name beside that of the page, which its heading has alone.
    if headings and (not title or title.startswith(headings[0]) or title.endswith(headings[0])):
        title = headings[0]
    return FileContent(blocks, title)


def html_text(text: str) -> str:
    """
    Return the text of a piece of HTML in one line, without its tags.

    :param text: The piece.
    """
    root = _parse(text)
    return "" if root is None else one_line(" ".join(block.text for block in element_blocks(root)))


def element_blocks(root: Any) -> list[Block]:
    """
    Return the blocks of an element of lxml.

    :param root: The element.
    """
    walk = _Walk()
    walk.visit(root, 0)
    walk.end_block()
    return walk.blocks


class _Walk:
    """Turns elements into blocks, each ended by the next element that is not part of a line."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._parts: list[str] = []

    def visit(self, element: Any, depth: int) -> None:
        """Take in an element with everything in it."""
        tag = element.tag
        if not isinstance(tag, str) or _is_dropped(element):
            return
        if depth > _MAX_DEPTH:
            self._parts += element.itertext(with_tail=False)
            return
        tag = tag.rpartition("}")[2]
        if tag in _HEADINGS:
            self.end_block()
            text = one_line(_text(element))
            if text:
                self.blocks.append(Block(text, _HEADINGS[tag]))
        elif tag == "pre":
            self.end_block()
            code = _text(element, breaks=True)
            if code.strip():
                self.blocks.append(Block(code_block(code, _language(element))))
        elif tag == "table" and not _is_layout(element):
            self.end_block()
            self.blocks += _table(element)
        elif tag == "br":
            self._parts.append("\n")
        elif tag == "img":
            self._parts.append(element.get("alt") or "")
        else:
            self._visit_inside(element, tag, depth)

    def end_block(self) -> None:
        """End the current block."""
        lines = [one_line(line) for line in "".join(self._parts).split("\n")]
        text = "\n".join(filter(None, lines))
        if text:
            self.blocks.append(Block(text))
        self._parts = []

    def _visit_inside(self, element: Any, tag: str, depth: int) -> None:
        is_own_block = tag not in _INLINE and tag not in ("li", "dt", "dd") and not _is_first_of_item(element)
        if tag in ("li", "dt", "dd"):  # the items of a list are one block
            self._parts.append("\n" + ("- " if tag == "li" else ""))
        elif is_own_block:
            self.end_block()
        self._parts.append(_no_breaks(element.text))
        for child in element:
            self.visit(child, depth + 1)
            self._parts.append(_no_breaks(child.tail))
        if is_own_block:
            self.end_block()


def _no_breaks(text: str | None) -> str:
    return re.sub(r"\s+", " ", text) if text else ""


def _is_first_of_item(element: Any) -> bool:
    if element.tag not in ("p", "div"):
        return False
    parent = element.getparent()
    return parent is not None and parent.tag in ("li", "dd") and element.getprevious() is None


def _is_dropped(element: Any) -> bool:
    if element.tag in _DROPPED or element.get("role") in _DROPPED_ROLES or element.get("aria-hidden") == "true":
        return True
    names = f"{element.get('class') or ''} {element.get('id') or ''}".lower().split()
    return bool(names) and not _DROPPED_NAMES.isdisjoint(names) and element.tag != "body"


def _is_inside_another(element: Any, parts: list[Any]) -> bool:
    return len(parts) > 1 and any(ancestor in parts for ancestor in element.iterancestors())


def _text(element: Any, *, breaks: bool = False) -> str:
    """Return all text of an element without what is dropped."""
    return "".join(_pieces(element, breaks, 0)).replace("\r\n", "\n").replace("\f", "\n")


def _pieces(element: Any, breaks: bool, depth: int) -> Iterator[str]:
    if not isinstance(element.tag, str) or _is_dropped(element):
        return
    if depth > _MAX_DEPTH:
        yield from element.itertext(with_tail=False)
        return
    if element.tag == "br":
        yield "\n" if breaks else " "
    elif element.tag == "img":
        yield element.get("alt") or ""
    yield element.text or ""
    for child in element:
        yield from _pieces(child, breaks, depth + 1)
        yield child.tail or ""


def _is_layout(table: Any) -> bool:
    """Whether a table has cells with several blocks."""
    for element in table.iter(_BLOCKS_IN_LAYOUT):
        before = element.getprevious()
        if element is not table and (element.tag != "p" or (before is not None and before.tag == "p")):
            return True
    return False


def _table(element: Any) -> Iterator[Block]:
    for caption in element.xpath("./caption"):
        yield Block(one_line(_text(caption)))
    rows = ([_text(cell) for cell in row if cell.tag in ("td", "th")] for row in element.iter("tr"))
    text = table_block(rows)
    if text.count("\n") > 1:
        yield Block(text)
    elif text:  # one row is no table
        cells = (one_line(_text(cell)) for cell in element.iter("td", "th"))
        yield Block("\n".join(filter(None, cells)))


def _language(element: Any) -> str:
    near = [element, *element.iterancestors()][:3] + element.xpath("./code")
    match = _LANGUAGE.search(" ".join(part.get("class") or "" for part in near))
    return match[1] if match else ""


def _parse(text: str) -> Any:
    from lxml import etree, html

    if not text.strip():
        return None
    try:
        # Bytes: lxml refuses a text that is decoded already and declares an encoding.
        return html.document_fromstring(
            text.encode(errors="replace"), parser=html.HTMLParser(encoding="utf-8", huge_tree=True)
        )
    except (etree.LxmlError, ValueError):
        return None
