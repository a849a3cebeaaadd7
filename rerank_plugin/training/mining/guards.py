"""Guards against false negatives: passages that nobody judged, and that are likely to answer the query all the same."""

import re
from collections.abc import Iterable, Mapping, Sequence

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.training.mining.rules import MiningRules

WORD = re.compile(r"\w+")
SHINGLE = 3


def answers_of(query: BeirQuery) -> list[str]:
    """Return the answers that stand beside a query: `metadata.answers`, a list, or `metadata.answer`."""
    found = query.metadata.get("answers", query.metadata.get("answer"))
    texts = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return [text for text in texts if isinstance(text, str) and WORD.search(text)]


def contains_answer(text: str, answers: Iterable[str]) -> bool:
    """Tell whether the words of one of the answers stand in a text, in their order and side by side."""
    words = f" {_normalised(text)} "
    return any(f" {_normalised(answer)} " in words for answer in answers)


def is_near_duplicate(text: str, others: Iterable[str], share: float) -> bool:
    """
    Tell whether a text is nearly one of some others.

    :param text: The text.
    :param others: Those that it must not repeat.
    :param share: From which Jaccard similarity of the sets of word trigrams on.
    """
    own = _shingles(text)
    for other in others:
        theirs = _shingles(other)
        if len(own & theirs) >= share * len(own | theirs):
            return True
    return False


def margin_limit(rules: MiningRules, scores: Mapping[str, float], relevant: Sequence[str]) -> float | None:
    """
    Say up to which score a passage may be taken as a negative.

    :param rules: The margins.
    :param scores: By document, of those that have one.
    :param relevant: The relevant documents.
    :returns: The limit; `None` where no relevant document has a score, or there is no margin.
    """
    known = [scores[id_] for id_ in relevant if id_ in scores]
    if not known or not rules.has_margin:
        return None
    lowest = min(known)
    relative = lowest - abs(lowest) * (rules.relative_margin or 0.0)
    return min(relative, lowest - (rules.absolute_margin or 0.0))


def _normalised(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = WORD.findall(text.casefold())
    return {tuple(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))}
