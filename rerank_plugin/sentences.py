"""Splitting passages into sentences, for showing the one that answers a query best."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

# A paragraph whose longest line is shorter than this was not wrapped: its lines are units of their own.
_LEAST_WRAPPED_WIDTH = 40
# A line of a wrapped paragraph that ends before this share of the width ends a unit if a capital follows.
_SHORT_LINE = 0.6
_LEAST_WORDS = 3
_MAX_HEADING_WORDS = 12

_WORD = re.compile(r"[^\W\d_]{2,}|[^\W\d_]\b")
_ANY_WORD = re.compile(r"\w+")
_SYMBOLS = re.compile(r"[{}\[\]()<>=;_\\/|&*+$#@^~`]")
# Share of symbols above which a line is code or a table rather than prose.
_MOST_SYMBOLS = 0.12
_CODE_END = re.compile(r"[{};\\]\s*$")
_SENTENCE_END = re.compile(r"[.!?…:;。！？][\"'”’»)\]]*$")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_LATIN = re.compile(r"[A-Za-z]")
# Where sentencex splits too much: between these and a number; in Russian also before small letters and dashes.
_BEFORE_NUMBERS = re.compile(
    r"\b(?:approx|ca|fig|figs|eq|tab|ch|sec|vol|p|pp|рис|табл|гл|разд|стр|с|п|пп|см|ср|ок|прибл)\.$", re.IGNORECASE
)
_CONTINUATION = re.compile(r"[«\"(]?[а-яё]|[—–-]\s")


def split_sentences(text: str) -> list[str]:
    """
    Split a passage into its sentences.

    Wrapped lines are joined. Items of lists are split like paragraphs. Headings, code, rows of tables and pieces of less
    than three words are left out, unless the passage has nothing else.

    :param text: Plain text or Markdown, in English, Russian, or a language with the same punctuation.
    :returns: The sentences, each on one line; lines of code or headings if there are no sentences; empty if the text has no
        letters or digits.
    """
    sentences: list[str] = []
    others: list[str] = []
    for piece, is_prose in _pieces(text):
        (sentences if is_prose else others).append(piece)
    return sentences or others


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a text, and whether each is a sentence."""
    for block, is_prose in _blocks(text):
        for piece in _segment(block) if is_prose else [block]:
            line = " ".join(piece.split())
            if any(character.isalnum() for character in line):
                yield line, is_prose and len(_WORD.findall(line)) >= _LEAST_WORDS and not _is_code(line)


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Yield paragraphs and list items with their lines joined, and other blocks line by line; and whether each is prose."""
    kind, cells = "", list[str]()
    tokens = _parser().parse(text)
    last = max((position for position, token in enumerate(tokens) if token.content), default=0)
    for position, token in enumerate(tokens):
        if token.type in ("fence", "html_block"):
            yield from ((line, False) for line in token.content.splitlines())
        elif token.type == "tr_close":
            yield " | ".join(cells), False
            cells.clear()
        elif token.type.endswith("_open"):
            kind = token.type
        elif token.type == "inline" and kind in ("th_open", "td_open"):
            cells.append(token.content)
        elif token.type == "inline":
            is_single = token.level == 1 and position != last and "\n" not in token.content
            if kind == "heading_open" or (is_single and _is_heading(token.content)):
                yield token.content, False
            else:
                yield from _paragraph(token.content, is_item=token.level > 1)


def _paragraph(text: str, *, is_item: bool) -> Iterator[tuple[str, bool]]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    width = max(map(len, lines), default=0)
    is_wrapped = is_item or width >= _LEAST_WRAPPED_WIDTH
    unit = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if _is_code(line):
            if unit:
                yield unit, True
            yield line, False
            unit = ""
            continue
        # A hyphen at the end of a line may belong to the word, so it stays.
        unit += line if not unit or unit.endswith("-") else f" {line}"
        is_short = len(line) < _SHORT_LINE * width and not following[:1].islower()
        if not is_wrapped or is_short or not following:
            yield unit, True
            unit = ""
    if unit:
        yield unit, True


def _is_heading(line: str) -> bool:
    return not _SENTENCE_END.search(line) and len(line.split()) <= _MAX_HEADING_WORDS


def _is_code(line: str) -> bool:
    solid = len(line) - line.count(" ")
    return bool(_CODE_END.search(line)) or len(_SYMBOLS.findall(line)) > _MOST_SYMBOLS * max(solid, 1)


def _segment(text: str) -> list[str]:
    from sentencex import segment

    is_russian = len(_CYRILLIC.findall(text)) > len(_LATIN.findall(text))
    joined: list[str] = []
    for piece in map(str.strip, segment("ru" if is_russian else "en", text)):
        before = joined[-1] if joined else ""
        is_number = piece[:1].isdigit() and _BEFORE_NUMBERS.search(before)
        if before and (is_number or (is_russian and _CONTINUATION.match(piece))):
            joined[-1] = f"{before} {piece}"
        else:
            joined.append(piece)
    return joined


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    # Blocks only. Indented lines are as often quoted text as code, and code is recognised by its symbols.
    return MarkdownIt("commonmark").enable("table").disable(["inline", "code"])


def shared_words(query: str, sentences: Sequence[str]) -> list[float]:
    """
    Score sentences by the words that they share with a query; a word counts the more, the fewer of them have it.

    :param query: The query.
    :param sentences: The sentences.
    :returns: A score for each, higher is better.
    """
    words = [set(_ANY_WORD.findall(sentence.lower())) for sentence in sentences]
    shared = [set(_ANY_WORD.findall(query.lower())) & own for own in words]
    frequency = Counter(word for own in shared for word in own)
    return [sum(log(1 + len(sentences) / frequency[word]) for word in own) for own in shared]
