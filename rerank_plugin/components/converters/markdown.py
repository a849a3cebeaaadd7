"""Markdown: plain text under its headings; code in fences, and tables as they are."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rerank_plugin.components.converters.blocks import Block, FileContent, code_block, one_line
from rerank_plugin.components.converters.html import html_text
from rerank_plugin.errors import InputFileError

if TYPE_CHECKING:
    from markdown_it.token import Token

# YAML above the text, as of static site generators.
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,65536}?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)

# markdown-it leaves out what is nested more deeply; much more would exhaust Python's stack.
_MAX_NESTING = 60
# Finding the links of a paragraph takes time by the square of its brackets. With more of them, links stay as written.
_MAX_BRACKETS = 5000


def read(data: bytes) -> FileContent:
    """
    Read a Markdown file (CommonMark with tables).

    :param data: The text, UTF-8.
    :returns: Its blocks without markup. The title is that of the front matter, or the first heading of the first level.
    :raises InputFileError: If lists or quotations are nested too deeply.
    """
    text = data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    front = _front_matter(text)
    if front:
        text = text[front[1] :]
    blocks = markdown_blocks(text)
    title = front[0] if front else ""
    return FileContent(blocks, title or next((one_line(block.text) for block in blocks if block.level == 1), ""))


def markdown_blocks(text: str) -> list[Block]:
    """
    Return the blocks of a text in Markdown.

    :param text: The text.
    :raises InputFileError: If lists or quotations are nested too deeply.
    """
    from markdown_it import MarkdownIt

    walk = _Walk(text.split("\n"))
    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable("table")
    if max(paragraph.count("[") for paragraph in text.split("\n\n")) > _MAX_BRACKETS:
        parser.disable(["link", "image"])
    for token in parser.parse(text):
        if token.level >= _MAX_NESTING - 1:
            raise InputFileError(f"is nested too deeply (more than {_MAX_NESTING} levels of lists and quotations)")
        walk.visit(token)
    walk.end_block()
    return walk.blocks


class _Walk:
    """Turns the tokens of markdown-it into blocks."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.blocks: list[Block] = []
        self._lines = lines
        self._parts: list[str] = []  # the items of a list without blank lines between them are one block
        self._marks: list[str] = []  # what stands before the next text of a list item
        self._heading = 0
        self._is_in_table = False

    def visit(self, token: "Token") -> None:
        """Take in the next token."""
        kind = token.type
        if kind == "inline":
            self._add(_plain(token.children or []))
        elif kind == "html_block":
            self._add(html_text(token.content))
            self.end_block()
        elif kind in ("fence", "code_block") and token.content.strip():
            self.end_block()
            self.blocks.append(Block(code_block(token.content, one_line(token.info)[:40])))
        elif kind == "table_open" and token.map:
            self.end_block()
            self.blocks.append(Block("\n".join(line.strip() for line in self._lines[slice(*token.map)] if line.strip())))
            self._is_in_table = True
        elif kind == "table_close":
            self._is_in_table = False
        else:
            self._visit_frame(token)

    def _visit_frame(self, token: "Token") -> None:
        """Take in the beginning or end of a heading, a paragraph or a list."""
        kind = token.type
        if kind == "heading_open":
            self.end_block()
            # A heading inside a list or a quotation does not divide the document.
            self._heading = int(token.tag[1:]) if token.level == 0 else 0
        elif kind == "list_item_open":
            self._marks.append("- " if token.markup in ("-", "*", "+") else f"{token.info}{token.markup} ")
        elif kind == "list_item_close" and self._marks:
            self._marks.pop()
        elif (kind in ("paragraph_close", "heading_close") and not token.hidden) or kind.endswith("_list_close"):
            self.end_block()

    def end_block(self) -> None:
        """End the current block."""
        text = "\n".join(self._parts)
        if text.strip():
            self.blocks.append(Block(text, self._heading))
        self._parts, self._heading = [], 0

    def _add(self, text: str) -> None:
        if self._is_in_table or not text.strip():
            return
        mark = "".join(self._marks)
        self._marks = [""] * len(self._marks)
        self._parts.append(mark + text)


def _plain(children: Sequence["Token"]) -> str:
    """Return the text of inline tokens: that of links and images, without emphasis and HTML tags."""
    parts = []
    for child in children:
        if child.type in ("text", "code_inline", "image", "text_special"):
            parts.append(child.content)
        elif child.type == "softbreak":
            parts.append(" ")
        elif child.type == "hardbreak" or (child.type == "html_inline" and re.match(r"<br\b", child.content, re.IGNORECASE)):
            parts.append("\n")
    return "".join(parts).strip()


def _front_matter(text: str) -> tuple[str, int] | None:
    """Return the title in the front matter, and where the front matter ends; `None` if there is none."""
    import yaml

    match = _FRONT_MATTER.match(text.removeprefix("\ufeff"))
    if not match:
        return None
    try:
        values: Any = yaml.load(match[1], yaml.CSafeLoader) if "*" not in match[1] else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    title = values.get("title")
    return one_line(title) if isinstance(title, str) else "", match.end()
