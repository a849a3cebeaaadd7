"""Keyword queries: operators, and analysis into terms."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rerank_plugin.checks import check_text
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.keywords.analysis import Analysis

# Every distinct word of a query is looked up in the index: a million characters take about a second.
MAX_QUERY_LENGTH = 1_000_000
# A sign and quotes, or a sign and a word; a sign is an operator only at the start of a word, so "wi-fi" and "C++" are words.
_PART = re.compile(r'(?:(?<=\s)|^)([+-]?)"([^"]+)"|(?:(?<=\s)|^)([+-])(?=\w)(\S+)|(\S+)')


@dataclass(frozen=True)
class TermQuery:
    """
    A query in the terms of the index.

    :param scored: The terms, with their frequencies in the query.
    :param required: Phrases, each of which must occur.
    :param excluded: Phrases that must not occur.
    """

    scored: Counter[str]
    required: tuple[list[str], ...] = ()
    excluded: tuple[list[str], ...] = ()


@dataclass(frozen=True)
class KeywordQuery:
    """
    A query before the analysis into terms.

    :param text: Documents match with any of its words; more words, and rarer ones, give a higher score.
    :param required: Phrases, each of which must occur; their words contribute to the score too.
    :param excluded: Phrases that must not occur.
    """

    text: str
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def analyzed(self, analysis: Analysis) -> TermQuery:
        """
        Return the query in terms; a phrase without terms is left out.

        :param analysis: The analysis of the index.
        """
        required, excluded = (
            [terms for terms in map(analysis.text, phrases) if terms] for phrases in (self.required, self.excluded)
        )
        scored = Counter(analysis.query(self.text) + [term for terms in required for term in terms])
        return TermQuery(scored, _distinct(required), _distinct(excluded))


def _distinct(phrases: list[list[str]]) -> tuple[list[str], ...]:
    """Return each phrase once."""
    return tuple(map(list, dict.fromkeys(map(tuple, phrases))))


def check_query(query: Any) -> str:
    """
    Check a query.

    :param query: The query.
    :returns: The query.
    :raises InvalidValueError: If it is not a string, empty, not valid Unicode, or longer than a million characters.
    """
    text = check_text("query", query)
    if len(text) > MAX_QUERY_LENGTH:
        raise InvalidValueError(
            f"query has {len(text):,} characters, the maximum is {MAX_QUERY_LENGTH:,}: search for a passage, not for a file"
        )
    return text


def parse_operators(text: str) -> KeywordQuery:
    """
    Read `"a phrase"` and `+word` as required, `-word` and `-"a phrase"` as excluded, and everything else as words.

    Every text is a valid query: a misplaced sign or quote is ignored.

    :param text: The query as typed.
    """
    words: list[str] = []
    required: list[str] = []
    excluded: list[str] = []
    for sign, phrase, word_sign, word, plain in _PART.findall(text):
        if plain:
            words.append(plain)
            continue
        target = excluded if "-" in (sign, word_sign) else required
        target.append(phrase or word.strip('"'))
    return KeywordQuery(" ".join(words), tuple(required), tuple(excluded))
