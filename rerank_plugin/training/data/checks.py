"""Checks and statistics of training pairs, before hours are spent on training."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, mean
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.data.pairs import POSITIVE, LabelledPair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACES_SHOWN = 3  # of each problem
CUT_SAMPLE = 1000  # pairs tokenised to estimate the share of truncated pairs

EMPTY = "empty query or passage"
RANGE = "label that is out of range"
LEAKED = "query of the dev or test split"
DUPLICATE = "the same pair again"
CONTRADICTION = "the same pair with another label"
STOPPING = (EMPTY, RANGE, LEAKED)  # these stop a run, the others are only reported


@dataclass(frozen=True)
class Lengths:
    """Shortest, mean and longest text, in characters."""

    shortest: int
    mean: float
    longest: int

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Lengths":
        """Measure texts; there must be at least one."""
        counts = [len(text) for text in texts]
        return cls(min(counts), mean(counts), max(counts))


@dataclass(frozen=True)
class PairStatistics:
    """
    Statistics of a set of pairs, for the model card.

    :param pairs: Number of pairs.
    :param queries: Number of distinct queries.
    :param mean_label: Mean label.
    :param positives: Share of the pairs with a label of 0.5 or more.
    :param query: Lengths of the queries.
    :param passage: Lengths of the passages.
    :param cut: Share of the pairs that exceed the model's input length, in a sample; `None`: not measured.
    :param taught: Number of pairs with a teacher score.
    """

    pairs: int
    queries: int
    mean_label: float
    positives: float
    query: Lengths
    passage: Lengths
    cut: float | None = None
    taught: int = 0


@dataclass(frozen=True)
class DataReport:
    """
    The result of the checks.

    :param statistics: Statistics of the pairs that are trained on.
    :param problems: Number of pairs with each problem.
    :param places: File and line of the first pairs with each problem.
    :param dropped: Number of pairs left out, by problem.
    :param repaired: Number of texts with repaired encoding.
    """

    statistics: PairStatistics
    problems: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: int = 0

    def lines(self) -> dict[str, Any]:
        """Return the report by name, for display."""
        s = self.statistics
        facts: dict[str, Any] = {
            "pairs": f"{s.pairs:,} of {s.queries:,} queries, mean label {s.mean_label:.3f}, {s.positives:.1%} positive",
            "query, characters": f"{s.query.shortest} to {s.query.longest}, mean {s.query.mean:.1f}",
            "passage, characters": f"{s.passage.shortest} to {s.passage.longest}, mean {s.passage.mean:.1f}",
        }
        if s.cut is not None:
            facts["longer than the model reads"] = f"{s.cut:.1%}"
        if s.taught:
            facts["with a teacher's score"] = f"{s.taught:,}"
        if self.repaired:
            facts["texts with repaired encoding"] = f"{self.repaired:,}"
        for problem, count in self.problems.items():
            treatment = "left out" if problem in self.dropped else "kept"
            facts[problem] = f"{count:,} {treatment}: {'; '.join(self.places[problem])}"
        return facts


def check_pairs(
    pairs: Sequence[LabelledPair],
    *,
    bounded_labels: bool = True,
    held_out: Mapping[str, str] | None = None,
    drop: bool = False,
    repaired: int = 0,
) -> tuple[list[LabelledPair], DataReport]:
    """
    Check pairs for problems.

    :param pairs: The pairs.
    :param bounded_labels: Whether labels must be from 0 to 1.
    :param held_out: Queries of the dev and test splits, with the name of the split.
    :param drop: Leave out pairs with problems (all contradictions, all duplicates but the first) instead of stopping.
    :param repaired: Texts whose encoding was repaired before, for the report.
    :returns: The pairs to train on, and the report.
    :raises InvalidValueError: If `drop` is not set and pairs are empty, have labels out of range, or queries of the
        evaluation splits; duplicates and contradictions are only reported. Also if no pair is left.
    """
    problems = _problems(pairs, bounded_labels, {_key(query): name for query, name in (held_out or {}).items()})
    counts = Counter(problem for problem in problems if problem)
    places: dict[str, list[str]] = {}
    for pair, problem in zip(pairs, problems, strict=True):
        if problem and len(places.setdefault(problem, [])) < PLACES_SHOWN:
            places[problem].append(pair.source or f"{pair.query[:40]!r}")
    if not drop and (stopping := [f"{counts[p]} x {p} ({'; '.join(places[p])})" for p in STOPPING if p in counts]):
        raise InvalidValueError(
            f"the training data has problems: {', '.join(stopping)}. Fix them, or leave them out with --drop"
        )
    kept = [pair for pair, problem in zip(pairs, problems, strict=True) if not (drop and problem)]
    if not kept:
        raise InvalidValueError("there are no training pairs: check the files that were given")
    ordered = {problem: counts[problem] for problem in (*STOPPING, DUPLICATE, CONTRADICTION) if problem in counts}
    return kept, DataReport(describe(kept), ordered, places, dict(ordered) if drop else {}, repaired)


def describe(pairs: Sequence[LabelledPair]) -> PairStatistics:
    """
    Compute the statistics of a set of pairs.

    :param pairs: The pairs; at least one.
    :returns: Counts, mean label, and lengths in characters.
    """
    return PairStatistics(
        pairs=len(pairs),
        queries=len({pair.query for pair in pairs}),
        mean_label=mean(pair.label for pair in pairs),
        positives=fmean(pair.label >= POSITIVE for pair in pairs),
        query=Lengths.of(pair.query for pair in pairs),
        passage=Lengths.of(pair.passage for pair in pairs),
        taught=sum(pair.teacher_score is not None for pair in pairs),
    )


def with_cut(
    report: DataReport, pairs: Sequence[LabelledPair], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> DataReport:
    """
    Add the share of pairs that exceed the model's input length, estimated on up to 1,000 of them.

    :param report: The report so far.
    :param pairs: The pairs.
    :param tokenizer: Tokenizer of the model.
    :param max_length: Maximum tokens of a pair.
    """
    sample = pairs[:: math.ceil(len(pairs) / CUT_SAMPLE)]
    tokens = tokenizer([pair.query for pair in sample], [pair.passage for pair in sample], verbose=False)["input_ids"]
    share = fmean(len(ids) > max_length for ids in tokens)
    return replace(report, statistics=replace(report.statistics, cut=share))


def _problems(pairs: Sequence[LabelledPair], bounded: bool, held_out: Mapping[str, str]) -> list[str | None]:
    labels: dict[tuple[str, str], set[float]] = {}
    own = [_own_problem(pair, bounded, held_out) for pair in pairs]
    for pair, problem in zip(pairs, own, strict=True):
        if problem is None:
            labels.setdefault((pair.query, pair.passage), set()).add(pair.label)
    seen: set[tuple[str, str]] = set()
    problems: list[str | None] = []
    for pair, problem in zip(pairs, own, strict=True):
        key = (pair.query, pair.passage)
        if problem is not None:
            problems.append(problem)
        elif len(labels[key]) > 1:
            problems.append(CONTRADICTION)
        else:
            problems.append(DUPLICATE if key in seen else None)
            seen.add(key)
    return problems


def _own_problem(pair: LabelledPair, bounded: bool, held_out: Mapping[str, str]) -> str | None:
    if not pair.query.strip() or not pair.passage.strip():
        return EMPTY
    if not math.isfinite(pair.label) or (bounded and not 0 <= pair.label <= 1):
        return RANGE
    return LEAKED if held_out and _key(pair.query) in held_out else None


def _key(query: str) -> str:
    return " ".join(query.casefold().split())
