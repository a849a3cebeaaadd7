"""Reading text files line by line, with errors that name file and line."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

from rerank_plugin.errors import InputFileError

# A whole line is held in memory. No passage is this long; the limit protects against files without line breaks.
MAX_LINE_BYTES = 64 << 20

UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class ByteLines(Protocol):
    """A file opened in binary mode, or any object with the same `readline`."""

    def readline(self, size: int, /) -> bytes:
        """
        Return the next line with its line end, or the first `size` bytes of it; empty at the end of the file.

        :param size: Maximum number of bytes.
        """


def read_lines(path: Path, *, stream: ByteLines | None = None) -> Iterator[tuple[int, str]]:
    """
    Yield number and text of each line that is not blank.

    :param path: The file, UTF-8, with or without a byte order mark.
    :param stream: The open file; `None` opens `path`.
    :returns: Pairs of line number (from 1) and line without its line end.
    :raises InputFileError: If the file is missing or unreadable, or a line is not UTF-8, contains a NUL byte or is longer
        than 64 MiB.
    """
    try:
        with path.open("rb") if stream is None else nullcontext(stream) as lines:
            number = 0
            while line := lines.readline(MAX_LINE_BYTES + 1):
                number += 1
                text = _decode(line, path, number)
                if text.strip():
                    yield number, text
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror}") from None


def _decode(line: bytes, path: Path, number: int) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise InputFileError(
            f"{path}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB; check that it is the right file"
        )
    if number == 1:
        if line.startswith(UTF16_BOMS):
            raise InputFileError(f"{path} is UTF-16 text, not UTF-8: convert it, for example with iconv -t UTF-8")
        line = line.removeprefix(UTF8_BOM)
    if b"\0" in line:
        raise InputFileError(f"{path}, line {number}: contains a NUL byte; the file is binary, damaged, or not UTF-8")
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{path}, line {number}: not UTF-8 text (byte {error.start}); convert the file, or check that it is the right"
            " one"
        ) from None
