"""Writing rows as Parquet."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from rerank_plugin.files import replace_file
from rerank_plugin.scale.blocks import Row


def write_parquet(output: Path, blocks: Iterator[list[Row]]) -> None:
    """
    Write a Parquet file, a row group for each block.

    :param output: The file.
    :param blocks: The rows of each block; those of the first decide on the columns and their types.
    """
    with replace_file(output, binary=True) as file:
        writer = None
        for rows in blocks:
            table = pa.Table.from_pylist(rows) if writer is None else pa.Table.from_pylist(rows, schema=writer.schema)
            writer = writer or parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
