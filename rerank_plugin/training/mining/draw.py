"""The negatives of one query."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.training.mining.guards import answers_of, contains_answer, is_near_duplicate, margin_limit
from rerank_plugin.training.mining.rules import MiningRules

# Random draws that may miss (the query's own passages, guarded ones) before fewer negatives are accepted.
TRIES = 10


@dataclass
class MiningCounts:
    """
    What happened while mining.

    :param queries: Queries that have a relevant document.
    :param positives: Their relevant documents.
    :param negatives: By where they came from.
    :param left_out: By the guard that left them out.
    :param without_margin: Queries whose relevant documents have no score, so that no margin was applied.
    :param short: Queries that got fewer negatives than the rules ask for.
    """

    queries: int = 0
    positives: int = 0
    negatives: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    without_margin: int = 0
    short: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts by name."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Negative:
    """
    A passage that was chosen.

    :param id: Of the document.
    :param rank: In the first stage's list, from 1; `None`: drawn from the whole corpus.
    """

    id: str
    rank: int | None


def draw_negatives(
    query: BeirQuery,
    relevant: Sequence[str],
    found: Sequence[tuple[str, float]],
    scores: Mapping[str, float],
    corpus: Mapping[str, BeirDocument],
    ids: Sequence[str],
    rules: MiningRules,
    counts: MiningCounts,
) -> list[Negative]:
    """
    Draw. The same query, list and rules give the same negatives, whatever was drawn for others before.

    :param query: The query.
    :param relevant: Its relevant documents.
    :param found: What the first stage found, best first, with scores.
    :param scores: The scores that the margin goes by.
    :param corpus: All documents.
    :param ids: Their ids, in file order.
    :param rules: What is wanted.
    :param counts: Counted on.
    :returns: The negatives, in the order of the rules.
    """
    draw = random.Random(f"{rules.seed} {query.id}")  # noqa: S311 - reproducible draws, not secrets
    judge = _Judge(query, relevant, scores, corpus, rules, counts)
    chosen: list[Negative] = []
    for window in rules.windows:
        ranked = list(enumerate(found, start=1))[window.first - 1 : window.last]
        draw.shuffle(ranked)
        wanted = window.count * len(relevant)
        fitting = (Negative(id_, rank) for rank, (id_, _) in ranked if judge.allows(id_))
        chosen += _take(fitting, wanted, counts, f"ranks {window.first}-{window.last}")
    listed = {id_ for id_, _ in found}
    wanted = rules.random * len(relevant)
    tries = (ids[draw.randrange(len(ids))] for _ in range(wanted * TRIES))
    fitting = (Negative(id_, None) for id_ in tries if id_ not in listed and judge.allows(id_))
    chosen += _take(fitting, wanted, counts, "random")
    counts.without_margin += rules.has_margin and judge.limit is None
    counts.short += len(chosen) < len(relevant) * (rules.random + sum(window.count for window in rules.windows))
    return chosen


def _take(fitting: Iterator[Negative], wanted: int, counts: MiningCounts, source: str) -> list[Negative]:
    taken: list[Negative] = []
    while len(taken) < wanted and (negative := next(fitting, None)):
        taken.append(negative)
    counts.negatives[source] += len(taken)
    return taken


class _Judge:
    """Says of a document whether it may be a negative; each document is allowed once."""

    def __init__(
        self,
        query: BeirQuery,
        relevant: Sequence[str],
        scores: Mapping[str, float],
        corpus: Mapping[str, BeirDocument],
        rules: MiningRules,
        counts: MiningCounts,
    ) -> None:
        self.limit = margin_limit(rules, scores, relevant)
        self._seen = set(relevant)
        self._positives = [corpus[id_].full_text for id_ in relevant]
        self._answers = answers_of(query) if rules.answers else []
        self._scores, self._corpus, self._rules, self._counts = scores, corpus, rules, counts

    def allows(self, id_: str) -> bool:
        if id_ in self._seen or id_ not in self._corpus or not self._corpus[id_].full_text.strip():
            return False
        self._seen.add(id_)
        guard = self._objection(id_)
        if guard:
            self._counts.left_out[guard] += 1
        return guard is None

    def _objection(self, id_: str) -> str | None:
        text = self._corpus[id_].full_text
        if self.limit is not None and self._scores.get(id_, float("-inf")) > self.limit:
            return "margin"
        if contains_answer(text, self._answers):
            return "answer"
        share = self._rules.near_duplicates
        return "near duplicate" if share is not None and is_near_duplicate(text, self._positives, share) else None
