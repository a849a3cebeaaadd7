"""Guards against false negatives: unjudged passages that are likely to answer the query."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.training.mining.rules import MiningRules

WORD = re.compile(r"\w+")
SHINGLE_WORDS = 3


def answers_of(query: BeirQuery) -> list[str]:
    """Return the answers in a query's metadata: `answers`, a list, or `answer`."""
    answers = query.metadata.get("answers", query.metadata.get("answer"))
    texts = [answers] if isinstance(answers, str) else answers if isinstance(answers, list) else []
    return [text for text in texts if isinstance(text, str) and WORD.search(text)]


def contains_answer(text: str, answers: Iterable[str]) -> bool:
    """Return whether a text contains the words of one of the answers, consecutively and in order."""
    words = f" {_normalised(text)} "
    return any(f" {_normalised(answer)} " in words for answer in answers)


def is_near_duplicate(text: str, others: Iterable[str], share: float) -> bool:
    """
    Return whether a text is a near duplicate of one of the others.

    :param text: The text.
    :param others: The other texts.
    :param share: Minimum Jaccard similarity of the sets of word trigrams of near duplicates.
    """
    own = _shingles(text)
    for other in others:
        theirs = _shingles(other)
        if len(own & theirs) >= share * len(own | theirs):
            return True
    return False


def margin_limit(rules: MiningRules, scores: Mapping[str, float], relevant: Sequence[str]) -> float | None:
    """
    Return the highest score that a negative may have.

    :param rules: The margins.
    :param scores: Known scores by document id.
    :param relevant: Ids of the relevant documents.
    :returns: The limit; `None` if no relevant document has a score, or there is no margin.
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
    return {tuple(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def cross_encoder_probabilities(model: str) -> Callable[[str, Sequence[str]], list[float]]:
    """
    Load a cross-encoder for scoring the candidates that the margins apply to.

    :param model: Bundled name, folder or Hub id.
    :returns: A function from query and passages to the sigmoid of the logits, so that a margin does not depend on the scale
        of a model's logits.
    :raises ModelError: If it cannot be loaded.
    """
    import numpy as np

    from rerank_plugin.components import CrossEncoderRanker

    ranker = CrossEncoderRanker(model=model)
    ranker.warm_up()

    def score(query: str, passages: Sequence[str]) -> list[float]:
        logits = np.asarray(ranker.logits(query, passages), dtype=np.float64)
        return [float(value) for value in 1 / (1 + np.exp(-logits))]

    return score
