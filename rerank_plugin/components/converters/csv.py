"""CSV files: a table whose first row is its header."""

import csv
import io

from rerank_plugin.components.converters.blocks import Block, FileContent, table_block
from rerank_plugin.errors import InputFileError

_SAMPLE_CHARACTERS = 1 << 16
_DELIMITERS = ",;\t|"


def read(data: bytes) -> FileContent:
    """
    Read a CSV file; the delimiter is found by trial.

    :param data: The text, UTF-8.
    :returns: One table.
    :raises InputFileError: If a line cannot be read.
    """
    text = data.decode("utf-8").replace("\f", " ")
    try:
        dialect: type[csv.Dialect] | str = csv.Sniffer().sniff(text[:_SAMPLE_CHARACTERS], _DELIMITERS)
    except csv.Error:  # a single column, or lines of different lengths
        dialect = "excel-tab" if "\t" in text[:_SAMPLE_CHARACTERS].partition("\n")[0] else "excel"
    before = csv.field_size_limit(max(len(text), 1))
    reader = csv.reader(io.StringIO(text, newline=""), dialect)
    try:
        table = table_block(reader)
    except csv.Error as error:
        raise InputFileError(f"is not valid CSV (line {reader.line_num}: {error}): check its quotation marks") from None
    finally:
        csv.field_size_limit(before)
    return FileContent([Block(table)] if table else [])
