"""PDF files, read by PDFium: the text of each page in reading order, under the headings of the file's outline."""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerank_plugin.components.converters.blocks import Block, FileContent, one_line
from rerank_plugin.components.converters.pdf_text import page_text
from rerank_plugin.errors import InputFileError
from rerank_plugin.progress import report_parts

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

logger = logging.getLogger(__name__)

# PDFium may only be used by one thread at a time.
_LOCK = threading.Lock()
# A small file can hold the same page many times. The text of the largest books is below this.
_MAX_CHARACTERS = 64_000_000
_MAX_HEADINGS = 20_000
# Progress is reported after so many pages.
_REPORTED_PAGES = 20
# What programs write as a title when nobody gave one.
_NO_TITLE = re.compile(
    r"untitled|.*\.(docx?|odt|rtf|tex|dvi|indd|qxd|pptx?|xlsx?|pdf|html?)|microsoft \w+ - .*", re.IGNORECASE
)
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
# What stands before a heading on the page, but not in the outline, such as "3.5.7" or "Chapter 2".
_NUMBERING = re.compile(r"([a-z]?\d{0,6}[a-z]?)|(chapter|part|section|appendix)\w{0,4}")


@dataclass(frozen=True)
class _Heading:
    text: str
    level: int


def read(data: bytes) -> FileContent:
    """
    Read a PDF file.

    :param data: The file.
    :returns: Its text, one block for each page or part of a page under a heading, with the number of the page.
    :raises InputFileError: If it is encrypted or damaged, or holds no text.
    """
    import pypdfium2

    with _LOCK:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise InputFileError("is encrypted: remove its password, for example with qpdf --decrypt") from None
            raise InputFileError("is damaged, or not a PDF file: open it in a viewer and export it again") from None
        try:
            remarks: list[str] = []
            pages = list(_pages(document, remarks))
            headings = _outline(document, len(pages))
            title = one_line(document.get_metadata_dict().get("Title", "").replace("\0", ""))
        finally:
            document.close()
    if pages and not any(pages):
        raise InputFileError("has no text, only images: run OCR on it, for example with ocrmypdf")
    blocks = [
        block for number, text in enumerate(pages, start=1) for block in _page_blocks(text, headings.get(number, []), number)
    ]
    return FileContent(blocks, "" if _NO_TITLE.fullmatch(title) else title, remarks)


def _pages(document: "PdfDocument", remarks: list[str]) -> Iterator[str]:
    """Yield the text of each page; only one page is loaded at a time. Those that cannot be read go to the remarks."""
    from pypdfium2 import PdfiumError

    total = 0
    for index in range(len(document)):
        try:
            page = document[index]
            try:
                text = page_text(page)
            finally:
                page.close()
        except PdfiumError as error:
            remarks.append(f"page {index + 1} cannot be read ({error}); the other pages are")
            text = ""
        total += len(text)
        if (index + 1) % _REPORTED_PAGES == 0:
            report_parts("pages", index + 1, len(document))
        if total > _MAX_CHARACTERS:
            raise InputFileError(f"has more than {_MAX_CHARACTERS:,} characters of text: split it")
        yield text


def _outline(document: "PdfDocument", pages: int) -> dict[int, list[_Heading]]:
    """Return the headings of the outline by the number of their page."""
    from pypdfium2 import PdfiumError

    found: dict[int, list[_Heading]] = {}
    try:
        for count, bookmark in enumerate(document.get_toc()):
            if count == _MAX_HEADINGS:
                break
            number, text = _page_number(bookmark), one_line(bookmark.get_title().replace("\0", ""))
            if text and 1 <= number <= pages:
                found.setdefault(number, []).append(_Heading(text, bookmark.level + 1))
    except (PdfiumError, UnicodeDecodeError) as error:
        logger.info("The outline of a PDF file cannot be read: %s", error)
    return found


def _page_number(bookmark: Any) -> int:
    destination = bookmark.get_dest()
    index = destination.get_index() if destination else None
    return 0 if index is None else index + 1


def _page_blocks(text: str, headings: Sequence[_Heading], number: int) -> Iterator[Block]:
    """Yield the text of a page, divided where a heading of the outline stands in it, or else with the heading on top."""
    lines = text.split("\n") if text else []
    start = 0
    for heading in headings:
        place, length = _find(heading.text, lines, start)
        if place > start:
            yield Block("\n".join(lines[start:place]), page=number)
        yield Block(" ".join(lines[place : place + length]) or heading.text, heading.level, number)
        start = place + length
    if start < len(lines):
        yield Block("\n".join(lines[start:]), page=number)


def _find(heading: str, lines: Sequence[str], start: int) -> tuple[int, int]:
    """Return the first line of a heading and the number of its lines; no line if it is not on the page."""
    wanted, bare = _bare(heading), [_bare(line) for line in lines]
    for length in (1, 2, 3) if wanted else ():
        for place in range(start, len(lines) - length + 1):
            joined = "".join(bare[place : place + length])
            if joined.endswith(wanted) and _NUMBERING.fullmatch(joined[: len(joined) - len(wanted)]):
                return place, length
    return start, 0


def _bare(text: str) -> str:
    return _NOT_ALPHANUMERIC.sub("", text).casefold()
