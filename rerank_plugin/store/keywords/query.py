"""What a keyword query asks for."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rerank_plugin.checks import check_text
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.keywords.analysis import Analyzer

# Every distinct word of a query costs a look into the index: a million characters take about a second.
LONGEST_QUERY = 1_000_000
# A sign and quotes, or a sign and a word; a sign counts only at the start of a word, so that "wi-fi" and "C++" are words.
_PART = re.compile(r'(?:(?<=\s)|^)([+-]?)"([^"]+)"|(?:(?<=\s)|^)([+-])(?=\w)(\S+)|(\S+)')


@dataclass(frozen=True)
class TermQuery:
    """
    A query in the terms of the index.

    :param scored: The terms, and how often each stands in the query.
    :param required: Phrases, each of which has to occur.
    :param excluded: Phrases that must not occur.
    """

    scored: Counter[str]
    required: tuple[list[str], ...] = ()
    excluded: tuple[list[str], ...] = ()


@dataclass(frozen=True)
class KeywordQuery:
    """
    A query as texts, before the analysis turns them into terms.

    :param text: Any of its words is enough; more words, and rarer ones, are better.
    :param required: Phrases, each of which has to occur; their words count for the score too.
    :param excluded: Phrases that must not occur.
    """

    text: str
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def analyzed(self, analyze: Analyzer) -> TermQuery:
        """
        Return the query in terms; a phrase without a term is left out.

        :param analyze: The analyzer of the index.
        """
        required, excluded = (
            [terms for terms in map(analyze, phrases) if terms] for phrases in (self.required, self.excluded)
        )
        scored = Counter(analyze(self.text) + [term for terms in required for term in terms])
        return TermQuery(scored, _distinct(required), _distinct(excluded))


def _distinct(phrases: list[list[str]]) -> tuple[list[str], ...]:
    """Return each phrase once: to require one twice is to require it."""
    return tuple(map(list, dict.fromkeys(map(tuple, phrases))))


def check_query(query: Any) -> str:
    """
    Check what a caller searches for.

    :param query: The query.
    :returns: The query.
    :raises InvalidValueError: If it is no text, empty, no valid Unicode, or longer than a million characters.
    """
    text = check_text("query", query)
    if len(text) > LONGEST_QUERY:
        raise InvalidValueError(
            f"query has {len(text):,} characters, {LONGEST_QUERY:,} are the most: search for a passage, not for a whole file"
        )
    return text


def parse_operators(text: str) -> KeywordQuery:
    """
    Read `"a phrase"` and `+word` as required, `-word` and `-"a phrase"` as excluded, and everything else as words.

    Every text is a query: a sign or a quote that makes no sense is passed over.

    :param text: What a user typed.
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
