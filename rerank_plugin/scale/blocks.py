"""Large files of rows, JSON Lines or Parquet, in blocks of a fixed number of rows, each of which can be read by itself."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.errors import InputFileError, MissingDependencyError

Row = dict[str, Any]

JSONL = (".jsonl", ".ndjson")
PARQUET = ".parquet"


@dataclass(frozen=True)
class Block:
    """
    A number of rows that follow each other in a file.

    :param number: Its number among all blocks of a job, from 0.
    :param file: The file.
    :param first_row: Its first row in the file, from 0.
    :param rows: Number of its rows.
    :param offset: Where it begins in a file of JSON Lines, in bytes.
    :param first_line: The line of that, from 1.
    """

    number: int
    file: Path
    first_row: int
    rows: int
    offset: int = 0
    first_line: int = 1


def plan_blocks(files: Sequence[Path], rows: int) -> list[Block]:
    """
    Divide files into blocks. No block has rows of two files, so that a file that is added changes no block before it.

    :param files: The files, in order.
    :param rows: Rows of a block; the last of a file may have fewer.
    :raises InputFileError: If a file is missing, of another type, or cannot be read.
    """
    blocks: list[Block] = []
    for file in files:
        try:
            for block in _blocks_of(file, rows):
                blocks.append(Block(len(blocks), file, *block))
        except FileNotFoundError:
            raise InputFileError(f"{file} does not exist: check the path") from None
        except OSError as error:
            raise InputFileError(f"{file} cannot be read: {error.strerror or error}") from error
    return blocks


def _blocks_of(file: Path, rows: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield first row, number of rows, offset and first line of the blocks of a file."""
    if file.suffix == PARQUET:
        total = _parquet(file).metadata.num_rows
        for first in range(0, total, rows):
            yield first, min(rows, total - first), 0, 1
        return
    if file.suffix not in JSONL:
        raise InputFileError(f"{file} is neither JSON Lines nor Parquet: pass files that end in .jsonl or .parquet")
    first, count, offset, first_line = 0, 0, 0, 1
    with file.open("rb") as lines:
        position = 0
        for number, line in enumerate(lines, start=1):
            if not line.isspace():
                if count == 0:
                    offset, first_line = position, number
                count += 1
            position += len(line)
            if count == rows:
                yield first, count, offset, first_line
                first, count = first + count, 0
    if count:
        yield first, count, offset, first_line


def read_block(block: Block) -> list[Row]:
    """
    Read the rows of a block.

    :param block: The block.
    :raises InputFileError: If a row is not an object. The message names its line or row.
    """
    if block.file.suffix == PARQUET:
        return _read_parquet(block)
    rows: list[Row] = []
    with block.file.open("rb") as lines:
        lines.seek(block.offset)
        number = block.first_line - 1
        while len(rows) < block.rows:
            line, number = lines.readline(), number + 1
            if not line:
                raise InputFileError(f"{block.file} has become shorter while it was read: run the job again")
            if not line.isspace():
                rows.append(_object(line, f"{block.file}, line {number}"))
    return rows


def _object(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputFileError(f"{place}: not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputFileError(f"{place}: must be an object, got {shown(row)}")
    return row


def _read_parquet(block: Block) -> list[Row]:
    file = _parquet(block.file)
    rows: list[Row] = []
    start = 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        first, last = max(start, block.first_row), min(stop, block.first_row + block.rows)
        if first < last:
            rows += file.read_row_group(group).slice(first - start, last - first).to_pylist()
        start = stop
    return rows


def _parquet(file: Path) -> Any:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'rerank-plugin[batch]'") from error
    try:
        return parquet.ParquetFile(file)
    except ArrowInvalid as error:
        raise InputFileError(f"{file} is not a Parquet file: {error}") from error
