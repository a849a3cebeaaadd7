"""Word documents, read by python-docx: paragraphs under their headings, lists, tables, text boxes."""

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rerank_plugin.components.converters.blocks import Block, FileContent, one_line, table_block
from rerank_plugin.components.converters.zip_file import open_zip
from rerank_plugin.errors import InputFileError

if TYPE_CHECKING:
    from docx.document import Document
    from docx.table import Table
    from docx.text.paragraph import Paragraph

_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
_MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def read(data: bytes) -> FileContent:
    """
    Read a Word document.

    :param data: The file.
    :returns: Its blocks. The title is its paragraph of style "Title", or else that of its properties.
    :raises InputFileError: If it is damaged, encrypted or too large.
    """
    import docx
    from docx.text.paragraph import Paragraph

    open_zip(data, "a Word document").close()
    try:
        document = docx.Document(io.BytesIO(data))
        # Looked up once: python-docx searches all styles for that of each paragraph.
        styles = {style.style_id: style.name or "" for style in document.styles}
        found = list(_merged(_blocks(document, styles)))
        titled = (part for part in document.iter_inner_content() if isinstance(part, Paragraph))
        titles = (one_line(part.text) for part in titled if _style(part, styles) == "Title")
        title = next(filter(None, titles), "") or one_line(document.core_properties.title or "")
    except Exception as error:
        raise InputFileError(f"is damaged, or not a Word document ({type(error).__name__}): save it again") from error
    return FileContent(found, title or next((one_line(block.text) for block in found if block.level == 1), ""))


def _style(paragraph: "Paragraph", styles: Mapping[str, str]) -> str:
    """Return the name of a paragraph's style."""
    return styles.get(paragraph._p.style or "", "")


def _blocks(document: "Document", styles: Mapping[str, str]) -> Iterator[tuple[Block, bool]]:
    """Yield blocks, and whether each is an item of a list."""
    from docx.table import Table

    for element in document.iter_inner_content():
        if isinstance(element, Table):
            yield Block(_table(element)), False
        else:
            yield _paragraph(element, _style(element, styles))
            for text in _boxes(element):
                yield Block(text), False


def _paragraph(paragraph: "Paragraph", style: str) -> tuple[Block, bool]:
    text = re.sub(r"[ \xa0]+", " ", paragraph.text.replace("\f", "\n")).strip()
    text = "\n".join(line.strip() for line in text.split("\n") if line.strip())
    heading = _HEADING.match(style)
    if heading or style == "Title":
        return Block(text, int(heading[1]) if heading else 1), False
    properties: Any = paragraph._p.pPr
    is_item = style.startswith("List") or (properties is not None and properties.numPr is not None)
    return Block(f"- {text}" if is_item and text else text), is_item


def _boxes(paragraph: "Paragraph") -> Iterator[str]:
    for element in paragraph._p.iter(f"{{{_W}}}txbxContent"):
        # Word writes a text box a second time, for old versions.
        if not any(above.tag == f"{{{_MC}}}Fallback" for above in element.iterancestors()):
            lines = ("".join(part.itertext(f"{{{_W}}}t")) for part in element.iter(f"{{{_W}}}p"))
            yield "\n".join(filter(None, map(one_line, lines)))


def _table(table: "Table") -> str:
    rows = [_cells(row.cells) for row in table.rows]
    if sum(any(row) for row in rows) == 1 or max(map(len, rows), default=0) == 1:  # a frame around text
        return "\n".join(filter(None, (one_line(cell) for row in rows for cell in row)))
    return table_block(rows)


def _cells(cells: Iterable[Any]) -> list[str]:
    """Return the texts of a row; a cell that spans several columns comes several times, and its text once."""
    seen: set[int] = set()
    texts = []
    for cell in cells:
        texts.append("" if id(cell._tc) in seen else cell.text)
        seen.add(id(cell._tc))
    return texts


def _merged(blocks: Iterable[tuple[Block, bool]]) -> Iterator[Block]:
    """Yield blocks with the items of a list as one."""
    items: list[str] = []
    for block, is_item in blocks:
        if is_item:
            items.append(block.text)
            continue
        if any(items):
            yield Block("\n".join(filter(None, items)))
        items = []
        if block.text:
            yield block
    if any(items):
        yield Block("\n".join(filter(None, items)))
