"""What every reader returns: the blocks of a file, which are made into one Document for each section."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from haystack import Document

# Between the headings of `meta["section"]`.
SECTION_SEPARATOR = " > "
MAX_TITLE_LENGTH = 1000


@dataclass(frozen=True)
class Block:
    """
    A heading, a paragraph, a list, a code block in fences, or a table in Markdown.

    :param text: Its text, without blank lines except in fences.
    :param level: Level of a heading, from 1; 0: it is no heading.
    :param page: The page or slide on which it begins; `None`: the file has no pages.
    """

    text: str
    level: int = 0
    page: int | None = None


@dataclass(frozen=True)
class FileContent:
    """
    What a reader found in a file.

    :param blocks: Its blocks, in reading order.
    :param title: The title by the file's own structure, empty if it has none.
    :param remarks: What could not be read as it should be, each in a few words, for a warning that names the file.
    """

    blocks: Sequence[Block]
    title: str = ""
    remarks: Sequence[str] = ()


# Takes the bytes of a file, text in UTF-8; raises InputFileError with a reason that completes "FILE ...".
Reader = Callable[[bytes], FileContent]


def one_line(text: str) -> str:
    """
    Return a text with every run of white space replaced by one space.

    :param text: The text.
    """
    return " ".join(text.split())


def code_block(code: str, language: str = "") -> str:
    """
    Return code in fences that are longer than any in the code.

    :param code: The code.
    :param language: Its language, empty if unknown.
    """
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}{language}\n{code.strip(chr(10))}\n{fence}"


def table_block(rows: Iterable[Sequence[str]]) -> str:
    """
    Return a table in Markdown whose first row is its header; empty if no cell has text.

    :param rows: The cells of each row; rows and columns without text are left out, and shorter rows are allowed.
    """
    table = [{column: text for column, cell in enumerate(row) if (text := one_line(cell))} for row in rows]
    columns = sorted({column for row in table for column in row})
    lines = ["| " + " | ".join(row.get(column, "").replace("|", "\\|") for column in columns) + " |" for row in table if row]
    return "\n".join([*lines[:1], "|" + " --- |" * len(columns), *lines[1:]]) if lines else ""


def to_documents(content: FileContent, meta: dict[str, Any]) -> Iterator[Document]:
    """
    Yield one Document for each section that has text.

    A section begins at a heading. Its text begins with that heading, and a form feed stands where a page ends. The meta has
    `title`, `section` (the headings above the text, without the title of the file) and `page` (on which the text begins);
    those that the file does not have are left out.

    :param content: The blocks.
    :param meta: The meta of the file; its `title` is used if the file has none of its own.
    """
    if content.title:
        meta = {**meta, "title": content.title[:MAX_TITLE_LENGTH]}
    for section in _sections(content):
        text, page = _joined(section.blocks)
        extra = {"section": SECTION_SEPARATOR.join(section.path), "page": page}
        yield Document(content=text, meta={**meta, **{name: value for name, value in extra.items() if value}})


@dataclass
class _Section:
    path: tuple[str, ...]
    blocks: list[Block] = field(default_factory=list)


def _sections(content: FileContent) -> Iterator[_Section]:
    """Yield the sections. A heading without a text of its own stands only in the path of the sections below it."""
    headings: list[Block] = []
    section = _Section(())
    for block in content.blocks:
        if not block.text.strip():
            continue
        if not block.level:
            section.blocks.append(block)
            continue
        heading = replace(block, text=one_line(block.text))
        has_own_text = any(not part.level for part in section.blocks)
        is_parent = bool(headings) and heading.level > headings[-1].level
        if section.blocks and (has_own_text or not is_parent):
            yield section
        headings = [*(above for above in headings if above.level < heading.level), heading]
        path = [above.text[:MAX_TITLE_LENGTH] for above in headings]
        if headings[0].level == 1 and headings[0].text == content.title:
            path = path[1:]
        section = _Section(tuple(path), [heading])
    if section.blocks:
        yield section


def _joined(blocks: Sequence[Block]) -> tuple[str, int | None]:
    """Return the text of blocks, and the page on which it begins."""
    first = page = blocks[0].page
    text = blocks[0].text
    for block in blocks[1:]:
        turns = 0 if page is None or block.page is None else max(block.page - page, 0)
        page = block.page if block.page is not None else page
        text += "\n\n" + "\f" * turns + block.text
    return text, first
