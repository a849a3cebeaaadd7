"""PowerPoint presentations, read by python-pptx: each slide is a section, its number the page."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

from rerank_plugin.components.converters.blocks import Block, FileContent, one_line, table_block
from rerank_plugin.components.converters.zip_file import open_zip
from rerank_plugin.errors import InputFileError

# What PowerPoint writes as a title when nobody gave one.
_NO_TITLE = "powerpoint presentation"
_MAX_DEPTH = 50


def read(data: bytes) -> FileContent:
    """
    Read a PowerPoint presentation.

    :param data: The file.
    :returns: Title, texts, tables and notes of each slide.
    :raises InputFileError: If it is damaged, encrypted or too large.
    """
    import pptx

    open_zip(data, "a PowerPoint presentation").close()
    try:
        presentation = pptx.Presentation(io.BytesIO(data))
        blocks = [
            block for number, slide in enumerate(presentation.slides, start=1) for block in _slide_blocks(slide, number)
        ]
        title = one_line(presentation.core_properties.title or "")
    except Exception as error:
        raise InputFileError(
            f"is damaged, or not a PowerPoint presentation ({type(error).__name__}): save it again"
        ) from error
    if title.lower() == _NO_TITLE or not title:
        title = next((block.text for block in blocks if block.level), "")
    return FileContent(blocks, title)


def _slide_blocks(slide: Any, number: int) -> Iterator[Block]:
    title = slide.shapes.title
    heading = one_line(title.text_frame.text) if title is not None and title.has_text_frame else ""
    yield Block(heading or f"Slide {number}", 2, number)
    for shape in _shapes(slide.shapes, 0):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        text = _shape_text(shape)
        if text:
            yield Block(text, page=number)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = _lines(slide.notes_slide.notes_text_frame.text)
        if notes:
            yield Block(notes, page=number)


def _shapes(shapes: Iterable[Any], depth: int) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes") and depth < _MAX_DEPTH:  # a group
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _shape_text(shape: Any) -> str:
    if getattr(shape, "has_table", False):
        return table_block([cell.text for cell in row.cells] for row in shape.table.rows)
    return _lines(shape.text_frame.text) if getattr(shape, "has_text_frame", False) else ""


def _lines(text: str) -> str:
    lines = text.replace("\v", "\n").replace("\f", "\n").split("\n")
    return "\n".join(filter(None, (one_line(line) for line in lines)))
