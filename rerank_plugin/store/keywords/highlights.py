"""The positions of a query's words in a text."""

import re
from collections.abc import Callable, Iterable
from functools import cache

from rerank_plugin.store.keywords.analysis import CJK, HYPHENS, SEPARATORS, THOUSANDS, Analyzer

_WORD = re.compile(r"\S+")
_PART = re.compile(f"[^{HYPHENS.pattern[1:-1]}]+")

Span = tuple[int, int]


def span_finder(terms: Iterable[str], analyze: Analyzer) -> Callable[[str], list[Span]]:
    """
    Return a function that finds the spans of a text that match terms, as (start, end) with the end exclusive, in text order.

    A compound matches as a whole or by its parts. Spans that touch are merged. The function remembers the words it has seen:
    use one for all the texts of a query.

    :param terms: The terms of a query.
    :param analyze: The analyzer that produced them.
    """
    wanted = frozenset(terms)
    within = cache(lambda word: _in_word(word, wanted, analyze))

    def find(text: str) -> list[Span]:
        # Replaced by one character each, to keep positions: a comma between thousands and a soft hyphen do not split words.
        joined = THOUSANDS.sub("0", text).replace("\u00ad", "-")
        return [
            (first + start, first + end)
            for first, last in (match.span() for match in _WORD.finditer(joined.translate(SEPARATORS)))
            for start, end in within(text[first:last])
        ]

    return find


def _in_word(word: str, wanted: frozenset[str], analyze: Analyzer) -> list[Span]:
    if wanted.isdisjoint(analyze(word)):
        return []
    if CJK.search(word):
        pairs = [(i, min(i + 2, len(word))) for i in range(len(word)) if not wanted.isdisjoint(analyze(word[i : i + 2]))]
        return _merged(pairs)
    parts = [part.span() for part in _PART.finditer(word)]
    matches = [part for part in parts if not wanted.isdisjoint(analyze(word[slice(*part)]))]
    if not matches or len(matches) == len(parts):
        return [(0, len(word))]
    return matches


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
