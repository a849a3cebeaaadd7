"""Which passage each sentence of an answer names, and whether the cross-encoder finds that the passage supports it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sentencex import segment

# A passage supports a sentence if it would answer it as a query: at least as probably as not.
LEAST_SUPPORT = 0.5
_CITATION = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_LEADING_CITATIONS = re.compile(rf"(?:\s*{_CITATION.pattern})+[.,;:]?")
_LETTER = re.compile(r"[^\W\d_]")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")


@dataclass(frozen=True)
class Citation:
    """
    A passage that a sentence names.

    :param number: Its number, from 1.
    :param support: How probable it is that the passage supports the sentence; `None`: unknown, or there is no such passage.
    :param verdict: `supported`, `unsupported`, `unchecked` (no cross-encoder), or `missing` (no such passage).
    """

    number: int
    support: float | None
    verdict: str


@dataclass(frozen=True)
class AnswerSentence:
    """
    A sentence of an answer.

    :param start: Its first character.
    :param end: The character after its last; the numbers that it names are within.
    :param citations: The passages that it names.
    """

    start: int
    end: int
    citations: Sequence[Citation]


def check_citations(
    answer: str, passages: Sequence[str], support: Callable[[str, Sequence[str]], Sequence[float] | None]
) -> list[AnswerSentence]:
    """
    Check the citations of an answer.

    :param answer: The answer, which names passages as `[2]` or `[1, 3]`.
    :param passages: The passages, from number 1.
    :param support: Returns how probably each of some passages supports a sentence; `None`: that cannot be told.
    :returns: Its sentences, with the passages that they name.
    """
    return [
        AnswerSentence(start, end, _citations(answer[start:end], passages, support))
        for start, end in sentence_spans(answer)
        if _LETTER.search(answer[start:end])
    ]


def sentence_spans(answer: str) -> list[tuple[int, int]]:
    """
    Return where the sentences of an answer are. Citations after the full stop belong to the sentence before them.

    :param answer: The answer.
    """
    language = "ru" if _CYRILLIC.search(answer) else "en"
    spans: list[tuple[int, int]] = []
    at = 0
    pieces = [piece.strip() for line in answer.splitlines() for piece in segment(language, line)]
    for piece in filter(None, pieces):
        start = answer.find(piece, at)
        if start < 0:
            continue
        at = start + len(piece)
        leading = _LEADING_CITATIONS.match(piece)
        if leading and spans:
            spans[-1] = (spans[-1][0], start + leading.end())
            start += leading.end()
            start += len(answer[start:at]) - len(answer[start:at].lstrip())
        if start < at:
            spans.append((start, at))
    return spans


def _citations(
    sentence: str, passages: Sequence[str], support: Callable[[str, Sequence[str]], Sequence[float] | None]
) -> list[Citation]:
    numbers = [int(number) for group in _CITATION.findall(sentence) for number in re.split(r"\s*[,;]\s*", group)]
    numbers = list(dict.fromkeys(numbers))
    known = [number for number in numbers if 1 <= number <= len(passages)]
    claim = " ".join(_CITATION.sub(" ", sentence).split())
    values = support(claim, [passages[number - 1] for number in known]) if known else []
    scores = dict(zip(known, values, strict=True)) if values is not None else {}
    return [_judged(number, scores.get(number), is_known=number in known) for number in numbers]


def _judged(number: int, support: float | None, *, is_known: bool) -> Citation:
    if not is_known:
        return Citation(number, None, "missing")
    if support is None:
        return Citation(number, None, "unchecked")
    return Citation(number, support, "supported" if support >= LEAST_SUPPORT else "unsupported")
