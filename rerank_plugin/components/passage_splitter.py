"""PassageSplitter: split Documents into passages that keep code, tables and paragraphs whole, and know their page."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from haystack import Document, component, default_to_dict

from rerank_plugin.checks import check_count, check_flag, shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.progress import report_parts

_FENCE = re.compile(r"[ \t]*(`{3,}(?!.*`)|~{3,})")
_TABLE_RULE = re.compile(r"\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*")
# Where a long paragraph is divided: at ends of sentences and before items of lists, or else at lines, or else at words.
_CUTS = (
    re.compile(r"(?<=[.!?;:])[ \t\n]+|(?<=[.!?][\"')\]])[ \t\n]+|(?<=[。！？])|\n(?=[ \t]*(?:[-*+•]|\d{1,9}[.)])[ \t])"),
    re.compile(r"\n+"),
)
# A line that opens code says more than this only if it is no such line.
_MAX_INFO_WORDS = 4
_SPACES = re.compile(r"[ \t\n]+")
_SENTENCES, _LINES = 0, 1
# Progress is reported after so many passages.
_REPORTED_PASSAGES = 1000
# Text without spaces (Chinese, Base64, minified code): this many characters count as a word.
_CHARACTERS_PER_WORD = 10


class _Part(NamedTuple):
    """A block of a text, or a piece of one; how many form feeds stand before it; what stands before it in one passage."""

    text: str
    page: int = 0
    gap: str = "\n\n"


@component
class PassageSplitter:
    """
    Splits Documents into passages of at most `split_length` words.

    Passages end where blocks end: code in fences (``` or ~~~), tables in Markdown, and paragraphs, which are separated by
    blank lines, stay whole where they fit. A block that is too long is divided: a paragraph at ends of sentences, or else
    lines or words; code and tables at lines, with the fence and the header of the table repeated.

    The passages keep the meta of their Document. Form feeds count pages up from `meta["page"]`, if the Document has one;
    each passage has the page on which it begins. If `meta["section"]` ends with the first line of a Document, that line
    is its heading, and every passage of it begins with the heading. `meta["source_id"]` is the id of the Document, and
    `meta["split_id"]` counts the passages of a file (the Documents with the same `meta["source"]` or `meta["file_path"]`).

    :param split_length: The most words of a passage, its heading included. Ten characters without a space count as a word.
    :param repeat_heading: Whether every passage of a section begins with its heading, or only the first one.
    :raises InvalidValueError: If an argument is not valid.
    """

    def __init__(self, split_length: int = 120, repeat_heading: bool = True) -> None:
        self.split_length = check_count("split_length", split_length)
        self.repeat_heading = check_flag("repeat_heading", repeat_heading)

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary, for a pipeline's YAML."""
        return default_to_dict(self, split_length=self.split_length, repeat_heading=self.repeat_heading)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """
        Split Documents.

        :param documents: The Documents; they are not changed. Those without text are left out.
        :returns: `documents`: the passages, in order.
        :raises InvalidValueError: If they are not Documents.
        """
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            raise InvalidValueError(f"documents must be a list of Documents, got {shown(documents)}")
        counts: dict[Any, int] = {}
        passages = []
        for document in documents:
            file = document.meta.get("source") or document.meta.get("file_path") or document.id
            for text, page in self._split(document):
                number = counts[file] = counts.get(file, -1) + 1
                meta = {**document.meta, "source_id": document.id, "split_id": number}
                if isinstance(meta.get("page"), int):
                    meta["page"] += page
                passages.append(Document(content=text, meta=meta))
                if len(passages) % _REPORTED_PASSAGES == 0:
                    report_parts("passages", len(passages))
        return {"documents": passages}

    def _split(self, document: Document) -> Iterator[tuple[str, int]]:
        """Yield text and page, counted from that of the Document, of each passage."""
        heading, text = _heading(document)
        room = self.split_length - _length(heading)
        # A heading that takes most of the room is text like any other.
        if room < self.split_length / 2:
            heading, text, room = "", document.content or "", self.split_length
        is_first = True
        for passage in _packed((piece for part in _blocks(text) for piece in _pieces(part, room)), room):
            content = _joined(passage)
            if heading and (is_first or self.repeat_heading):
                content = f"{heading}\n\n{content}"
            yield content, passage[0].page
            is_first = False
        if is_first and heading:
            yield heading, 0


def _heading(document: Document) -> tuple[str, str]:
    """Return the heading of a Document, empty if it has none, and the text below."""
    text = (document.content or "").lstrip("\n")
    section, (line, _, rest) = document.meta.get("section"), text.partition("\n")
    if isinstance(section, str) and line.strip() and section.endswith(line.strip()):
        return line.strip(), rest
    return "", text


def _length(text: str) -> int:
    # The bars of a table are no words.
    return max(len(text.replace("|", " ").split()), len(text) // _CHARACTERS_PER_WORD)


def _blocks(text: str) -> Iterator[_Part]:
    """Yield the blocks of a text."""
    page, lines, fence, begins_on = 0, list[str](), "", 0
    for line in text.split("\n"):
        turns = line.count("\f")
        line = line.replace("\f", "")  # noqa: PLW2901 - the line without its page breaks
        match = _FENCE.match(line)
        is_end = bool(fence) and _closes(line, fence)
        is_other = bool(lines) and _is_row(line) != _is_row(lines[-1])
        starts_block = not fence and (not line.strip() or bool(match) or is_other)
        if starts_block and lines:
            yield _Part("\n".join(lines), begins_on)
            lines = []
        page += turns
        if not lines:
            begins_on = page
        if line.strip() or fence:
            lines.append(line.rstrip())
        if is_end:
            yield _Part("\n".join(lines), begins_on)
            lines, fence = [], ""
        elif match and not fence:
            fence = match[1]
    if any(line.strip() for line in lines):
        yield _Part("\n".join(lines), begins_on)


def _closes(line: str, fence: str) -> bool:
    return line.strip().startswith(fence) and not line.strip().strip(fence[0])


def _is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


def _pieces(part: _Part, room: int) -> Iterator[_Part]:
    """Yield a block, or pieces of it if it has too many words."""
    if _length(part.text) <= room:
        yield part
        return
    lines = part.text.split("\n")
    fence = _FENCE.match(lines[0])
    if fence and len(lines) > 1 and len(lines[0].split()) <= _MAX_INFO_WORDS:
        inner = lines[1:-1] if _closes(lines[-1], fence[1]) else lines[1:]
        yield from _framed(part, inner, lines[0], fence[1], room)
    elif len(lines) > 2 and _TABLE_RULE.fullmatch(lines[1].strip()):
        header = "\n".join(lines[:2])
        if _length(header) > room / 2:
            yield from _cut(part, room, _LINES)
        else:
            yield from _framed(part, lines[2:], header, "", room)
    else:
        yield from _cut(part, room, _LINES if _is_row(lines[0]) else _SENTENCES)


def _framed(part: _Part, lines: Sequence[str], before: str, after: str, room: int) -> Iterator[_Part]:
    """Yield lines in pieces, each with the lines that stand before and after."""
    left = max(room - _length(before) - _length(after), 1)
    for piece in _packed(_cut(part._replace(text="\n".join(lines)), left, _LINES), left):
        yield part._replace(text="\n".join(filter(None, (before, _joined(piece).strip("\n"), after))))


def _cut(part: _Part, room: int, level: int) -> Iterator[_Part]:
    """Yield pieces of a text of at most so many words, cut at the largest units that fit. They keep what stood between."""
    if level == len(_CUTS):
        yield from _cut_words(part, room)
        return
    end, gap = 0, part.gap
    for match in chain(_CUTS[level].finditer(part.text), [None]):
        unit = _Part(part.text[end : match.start() if match else None], part.page, gap)
        if unit.text.strip():
            yield from [unit] if _length(unit.text) <= room else _cut(unit, room, level + 1)
        if match:
            end, gap = match.end(), match[0]


def _cut_words(part: _Part, room: int) -> Iterator[_Part]:
    """Yield pieces of at most so many words, and at most the characters that count as so many: a word may be endless."""
    most = room * _CHARACTERS_PER_WORD
    start, gap = 0, part.gap
    while start < len(part.text):
        window = part.text[start : start + most + 1]
        spaces = list(islice(_SPACES.finditer(window, 1), room))
        if len(window) <= most and len(spaces) < room:
            yield _Part(window, part.page, gap)
            return
        end, space = (spaces[-1].start(), spaces[-1][0]) if spaces else (most, "")
        yield _Part(window[:end], part.page, gap)
        start, gap = start + end + len(space), space


def _packed(parts: Iterable[_Part], room: int) -> Iterator[list[_Part]]:
    """Yield as many parts at a time as have at most so many words together."""
    group: list[_Part] = []
    words = 0
    for part in parts:
        length = _length(part.text)
        if group and words + length > room:
            yield group
            group, words = [], 0
        group.append(part)
        words += length
    if group:
        yield group


def _joined(parts: Sequence[_Part]) -> str:
    return parts[0].text + "".join(part.gap + part.text for part in parts[1:])
