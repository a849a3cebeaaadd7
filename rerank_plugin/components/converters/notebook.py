"""Jupyter notebooks: their Markdown, their code, and what the code printed."""

import json
from collections.abc import Iterator
from typing import Any

from rerank_plugin.components.converters.blocks import Block, FileContent, code_block, one_line
from rerank_plugin.components.converters.markdown import markdown_blocks
from rerank_plugin.components.converters.text import text_blocks
from rerank_plugin.errors import InputFileError, reason_of


def read(data: bytes) -> FileContent:
    """
    Read a Jupyter notebook.

    :param data: The notebook, JSON in UTF-8.
    :returns: The blocks of its cells. Of the output of code only text is read.
    :raises InputFileError: If it is not a notebook of format 3 or newer.
    """
    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"is not a Jupyter notebook ({reason_of(error)}): open it in Jupyter and save it") from None
    cells = _cells(notebook)
    if cells is None:
        raise InputFileError("is not a Jupyter notebook (it has no list of cells): open it in Jupyter and save it")
    language = _language(notebook)
    blocks = [block for cell in cells if isinstance(cell, dict) for block in _cell_blocks(cell, language)]
    title = (notebook.get("metadata") or {}).get("title") if isinstance(notebook.get("metadata"), dict) else None
    first = next((one_line(block.text) for block in blocks if block.level == 1), "")
    return FileContent(blocks, one_line(title) if isinstance(title, str) and title.strip() else first)


def _cells(notebook: Any) -> list[Any] | None:
    if not isinstance(notebook, dict):
        return None
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):  # format 3
        sheets = [sheet for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets for cell in sheet.get("cells") or []]
    return cells if isinstance(cells, list) else None


def _language(notebook: dict[str, Any]) -> str:
    value: Any = notebook
    for key in ("metadata", "language_info", "name"):
        value = value.get(key) if isinstance(value, dict) else None
    return one_line(value)[:40] if isinstance(value, str) else ""


def _cell_blocks(cell: dict[str, Any], language: str) -> Iterator[Block]:
    kind, source = cell.get("cell_type"), _joined(cell.get("source", cell.get("input")))
    if kind == "markdown":
        yield from markdown_blocks(source)
    elif kind == "heading":  # format 3
        level = cell.get("level")
        yield Block(one_line(source), level if isinstance(level, int) and 1 <= level <= 6 else 1)
    elif kind == "code":
        if source.strip():
            yield Block(code_block(source, language))
        for output in cell.get("outputs") or []:
            text = _output(output) if isinstance(output, dict) else ""
            if text.strip():
                yield Block(code_block(text))
    else:
        yield from text_blocks(source)


def _output(output: dict[str, Any]) -> str:
    data = output.get("data")
    shown = data.get("text/plain") if isinstance(data, dict) else None
    return _joined(output.get("text") or shown)


def _joined(lines: Any) -> str:
    parts = lines if isinstance(lines, list) else [lines]
    text = "".join(part for part in parts if isinstance(part, str))
    return text.replace("\r\n", "\n").replace("\f", "\n").encode(errors="replace").decode()
