"""The positions of a query's words in a text."""

import re
from collections.abc import Iterable

from rerank_plugin.store.keywords.analysis import CJK, HYPHENS, SEPARATORS, THOUSANDS, Analyzer

_WORD = re.compile(r"\S+")
_PART = re.compile(f"[^{HYPHENS.pattern[1:-1]}]+")

Span = tuple[int, int]


def find_spans(text: str, terms: Iterable[str], analyze: Analyzer) -> list[Span]:
    """
    Return the spans of a text that match terms, as (start, end) with the end exclusive, in text order.

    A compound matches as a whole or by its parts. Spans that touch are merged.

    :param text: The text.
    :param terms: The terms of a query.
    :param analyze: The analyzer that produced them.
    """
    wanted = set(terms)
    # Replaced by one character each, to keep positions: a comma between thousands and a soft hyphen do not split words.
    joined = THOUSANDS.sub("0", text).replace("\u00ad", "-")
    spans: list[Span] = []
    for match in _WORD.finditer(joined.translate(SEPARATORS)):
        spans += _in_word(text, match.span(), wanted, analyze)
    return spans


def _in_word(text: str, span: Span, wanted: set[str], analyze: Analyzer) -> list[Span]:
    first, last = span
    word = text[first:last]
    if wanted.isdisjoint(analyze(word)):
        return []
    if CJK.search(word):
        pairs = [(i, i + 2) for i in range(len(word)) if not wanted.isdisjoint(analyze(word[i : i + 2]))]
        return [(first + start, min(first + end, last)) for start, end in _merged(pairs)]
    parts = [part.span() for part in _PART.finditer(word)]
    matches = [part for part in parts if not wanted.isdisjoint(analyze(word[slice(*part)]))]
    if not matches or len(matches) == len(parts):
        return [span]
    return [(first + start, first + end) for start, end in matches]


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
