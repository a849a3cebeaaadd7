"""Sample the negatives of one query."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.training.mining.guards import answers_of, contains_answer, is_near_duplicate, margin_limit
from rerank_plugin.training.mining.rules import MiningRules

# Random samples per wanted negative, as some are relevant or guarded passages.
DRAWS_PER_NEGATIVE = 10


@dataclass
class MiningCounts:
    """
    Counts of a mining run.

    :param queries: Queries with a relevant document.
    :param positives: Their relevant documents.
    :param negatives: Negatives, by source.
    :param left_out: Passages that a guard left out, by guard.
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

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "MiningCounts":
        """Build counts from the output of `as_dict`."""
        values: dict[str, Any] = {name: Counter(value) if isinstance(value, dict) else value for name, value in data.items()}
        return cls(**values)


@dataclass(frozen=True)
class Negative:
    """
    A passage chosen as a negative.

    :param id: Id of the document.
    :param rank: Its first-stage rank, from 1; `None`: sampled from the whole corpus.
    """

    id: str
    rank: int | None


def draw_negatives(
    query: BeirQuery,
    relevant: Sequence[str],
    ranked: Sequence[tuple[str, float]],
    scores: Mapping[str, float],
    corpus: Mapping[str, BeirDocument],
    ids: Sequence[str],
    rules: MiningRules,
    counts: MiningCounts,
) -> list[Negative]:
    """
    Sample the negatives of a query. They depend only on query, ranking and rules, not on other queries.

    :param query: The query.
    :param relevant: Its relevant documents.
    :param ranked: Ids and scores of the first stage, best first.
    :param scores: The scores that the margin applies to, by id.
    :param corpus: All documents, by id.
    :param ids: Their ids, in file order.
    :param rules: How many negatives from which ranks, and the guards.
    :param counts: Counts of the run, updated in place.
    :returns: The negatives, in the order of the rules.
    """
    rng = random.Random(f"{rules.seed} {query.id}")  # noqa: S311 - reproducible sampling, not secrets
    candidates = _Candidates(query, relevant, scores, corpus, rules, counts)
    chosen: list[Negative] = []
    for window in rules.windows:
        ranks = list(enumerate(ranked, start=1))[window.first - 1 : window.last]
        rng.shuffle(ranks)
        wanted = window.count * len(relevant)
        allowed = (Negative(id_, rank) for rank, (id_, _) in ranks if candidates.allows(id_))
        chosen += _take(allowed, wanted, counts, f"ranks {window.first}-{window.last}")
    listed = {id_ for id_, _ in ranked}
    wanted = rules.random * len(relevant)
    drawn = (ids[rng.randrange(len(ids))] for _ in range(wanted * DRAWS_PER_NEGATIVE))
    allowed = (Negative(id_, None) for id_ in drawn if id_ not in listed and candidates.allows(id_))
    chosen += _take(allowed, wanted, counts, "random")
    counts.without_margin += rules.has_margin and candidates.limit is None
    counts.short += len(chosen) < len(relevant) * (rules.random + sum(window.count for window in rules.windows))
    return chosen


def _take(allowed: Iterator[Negative], wanted: int, counts: MiningCounts, source: str) -> list[Negative]:
    taken: list[Negative] = []
    while len(taken) < wanted and (negative := next(allowed, None)):
        taken.append(negative)
    counts.negatives[source] += len(taken)
    return taken


class _Candidates:
    """Decides which documents may be negatives of a query; each document is allowed once."""

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
        guard = self._guard_against(id_)
        if guard:
            self._counts.left_out[guard] += 1
        return guard is None

    def _guard_against(self, id_: str) -> str | None:
        text = self._corpus[id_].full_text
        if self.limit is not None and self._scores.get(id_, float("-inf")) > self.limit:
            return "margin"
        if contains_answer(text, self._answers):
            return "answer"
        share = self._rules.near_duplicates
        return "near duplicate" if share is not None and is_near_duplicate(text, self._positives, share) else None
