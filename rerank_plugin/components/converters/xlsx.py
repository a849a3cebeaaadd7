"""Excel workbooks, read by openpyxl: each sheet is a section with one table."""

import io
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from rerank_plugin.components.converters.blocks import Block, FileContent, one_line, table_block
from rerank_plugin.components.converters.zip_file import open_zip
from rerank_plugin.errors import InputFileError

# A sheet of a few bytes can claim a million rows of 16,384 cells.
_MAX_CELLS = 20_000_000


def read(data: bytes) -> FileContent:
    """
    Read an Excel workbook.

    :param data: The file.
    :returns: A heading and a table for each sheet that has cells, with the values that Excel computed last.
    :raises InputFileError: If it is damaged, encrypted or too large.
    """
    import openpyxl

    open_zip(data, "an Excel workbook").close()
    try:
        workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        try:
            blocks = [block for sheet in workbook.worksheets for block in _sheet_blocks(sheet)]
            title = one_line(workbook.properties.title or "")
        finally:
            workbook.close()
    except InputFileError:
        raise
    except Exception as error:
        raise InputFileError(f"is damaged, or not an Excel workbook ({type(error).__name__}): save it again") from error
    return FileContent(blocks, title)


def _sheet_blocks(sheet: Any) -> Iterator[Block]:
    sheet.reset_dimensions()  # what the sheet says about its size may be wrong
    table = table_block(_rows(sheet))
    if table:
        yield Block(one_line(sheet.title) or "Sheet", 2)
        yield Block(table)


def _rows(sheet: Any) -> Iterator[list[str]]:
    cells = 0
    for row in sheet.iter_rows(values_only=True):
        cells += len(row)
        if cells > _MAX_CELLS:
            raise InputFileError(f"has a sheet with more than {_MAX_CELLS:,} cells: delete its empty columns, or split it")
        if any(value is not None for value in row):
            yield [_shown(value) for value in row]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return str(value.date() if value.time() == time() else value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value).replace("\f", " ")
