"""reStructuredText, read by docutils: sections, code, tables; what directives and roles of Sphinx hold is read as text."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rerank_plugin.components.converters.blocks import Block, FileContent, code_block, one_line, table_block
from rerank_plugin.components.converters.rst_inline import PlainParagraphs

_DIRECTIVE = re.compile(r"^[ \t]*\.\. (?:\|[^|\n]+\| )?([\w:+.-]+)::(?:[ \t]|$)", re.MULTILINE)
_ROLE = re.compile(r":([\w:+.-]+):`")
_TARGET = re.compile(r"\s*<[^<>]*>$")
# Directives whose content is program text.
_CODE = frozenset(
    {"code-block", "sourcecode", "highlight", "literalinclude", "testcode", "testoutput", "doctest", "ipython"}
)
# Directives without any text for readers.
_SILENT = frozenset(
    {
        "toctree",
        "index",
        "currentmodule",
        "module",
        "highlight",
        "autosummary",
        "literalinclude",
        "include",
        "raw",
        "figure-md",
    }
)
# docutils keeps its directives for the whole process.
_LOCK = threading.Lock()


def read(data: bytes) -> FileContent:
    """
    Read a reStructuredText file. Other files that it names are not read.

    :param data: The text, UTF-8.
    :returns: Its blocks. The title is the first heading of the first level.
    """
    from docutils.core import publish_doctree
    from docutils.parsers.rst import Parser

    text = data.decode("utf-8").replace("\f", "\n")
    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "_disable_config": True,
        "report_level": 5,
        "halt_level": 6,
        "warning_stream": False,
        "line_length_limit": len(text) + 1,
        "doctitle_xform": False,
        "smart_quotes": False,
    }
    plain = PlainParagraphs()
    with _LOCK, _known(text):
        tree = publish_doctree(text, parser=Parser(inliner=plain.inliner()), settings_overrides=settings)
    blocks = list(_blocks(tree.children, 1))
    title = next((one_line(block.text) for block in blocks if block.level == 1), "")
    return FileContent(blocks, title, plain.remarks())


@contextmanager
def _known(text: str) -> Iterator[None]:
    """Make docutils read the directives and roles in a text that it does not know, instead of dropping what they hold."""
    from docutils.parsers.rst import directives, roles

    tables: Any = directives._directives, roles._roles
    before = [dict(table) for table in tables]
    try:
        for name in {name.lower() for name in _DIRECTIVE.findall(text)} - set(directives._directive_registry):
            if name not in tables[0]:
                directives.register_directive(name, _directive_class(name.rpartition(":")[2]))
        for name in {name.lower() for name in _ROLE.findall(text)} - set(roles._role_registry):
            if name not in tables[1]:
                roles.register_local_role(name, _role)
        yield
    finally:
        for table, old in zip(tables, before, strict=True):
            table.clear()
            table.update(old)


def _directive_class(name: str) -> Any:
    from docutils import nodes
    from docutils.parsers.rst import Directive

    class Unknown(Directive):  # type: ignore[misc]  # docutils has no types
        optional_arguments = 1000
        final_argument_whitespace = True
        has_content = True

        def run(self) -> Sequence[Any]:
            if name in _SILENT:
                return []
            text = "\n".join(self.content)
            if name in _CODE:
                code = nodes.literal_block(text, text)
                code["classes"] = ["code", *self.arguments[:1]]
                return [code]
            container = nodes.container()
            if self.arguments:
                inline, _ = self.state.inline_text(" ".join(self.arguments), self.lineno)
                container += nodes.paragraph("", "", *inline)
            self.state.nested_parse(self.content, self.content_offset, container)
            return [container]

    # Options such as ":maxdepth: 2" are neither text nor an error.
    Unknown.option_spec = _AnyOption()
    return Unknown


class _AnyOption(dict[str, Callable[[str], Any]]):
    """Options of any name, kept as they are."""

    def __getitem__(self, name: str) -> Callable[[str], Any]:
        """Return a function that keeps the value."""
        return lambda value: value

    def __bool__(self) -> bool:
        """Say that there are options."""
        return True


def _role(_name: str, rawtext: str, text: str, *_: Any, **__: Any) -> tuple[list[Any], list[Any]]:
    from docutils import nodes

    return [nodes.inline(rawtext, _TARGET.sub("", text.lstrip("~!").replace("\0", "")) or text)], []


def _blocks(children: Sequence[Any], level: int) -> Iterator[Block]:
    """Yield the blocks of nodes of docutils."""
    from docutils import nodes

    for node in children:
        if isinstance(node, nodes.section):
            yield from _blocks(node.children, level + 1)
        elif isinstance(node, nodes.title):
            yield Block(one_line(node.astext()), min(max(level - 1, 1), 6) if isinstance(node.parent, nodes.section) else 0)
        elif isinstance(node, nodes.literal_block | nodes.doctest_block):
            language = next((name for name in node.get("classes", []) if name != "code"), "")
            yield Block(code_block(node.astext(), language))
        elif isinstance(node, nodes.table):
            yield from _table(node)
        elif isinstance(node, nodes.bullet_list | nodes.enumerated_list | nodes.definition_list | nodes.field_list):
            yield from _list(node)
        elif isinstance(node, nodes.Invisible | nodes.system_message | nodes.substitution_definition):
            continue
        elif isinstance(node, nodes.TextElement):
            yield Block(_without_blank_lines(node.astext()))
        elif isinstance(node, nodes.Text):
            continue
        else:
            yield from _blocks(node.children, level)


def _list(node: Any) -> Iterator[Block]:
    """Yield a list as one block, or block by block if it holds code or tables."""
    from docutils import nodes

    if any(True for _ in node.findall(lambda part: isinstance(part, nodes.literal_block | nodes.table))):
        for item in node.children:
            yield from _blocks(item.children, 0)
        return
    mark = "- " if isinstance(node, nodes.bullet_list | nodes.enumerated_list) else ""
    lines = [mark + _without_blank_lines(item.astext()) for item in node.children if item.astext().strip()]
    yield Block("\n".join(lines))


def _table(node: Any) -> Iterator[Block]:
    from docutils import nodes

    for title in node.findall(nodes.title):
        yield Block(one_line(title.astext()))
    rows = [[entry.astext() for entry in row.findall(nodes.entry)] for row in node.findall(nodes.row)]
    yield Block(table_block(rows))


def _without_blank_lines(text: str) -> str:
    return "\n".join(one_line(line) for line in text.split("\n") if line.strip())
