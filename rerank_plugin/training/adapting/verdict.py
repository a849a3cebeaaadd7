"""Whether an adapted model is better than the one that it started from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rerank_plugin.evaluation.comparison import SIGNIFICANT, Difference, compare_evaluations
from rerank_plugin.evaluation.measures import NDCG
from rerank_plugin.progress import CountCallback
from rerank_plugin.training.fitting.dev import FIRST_STAGE, MODEL, DevCollection

PSEUDO, QUESTIONS = "held-out pseudo-queries", "held-out questions"
JUDGED, GENERAL = "judged queries", "general guard set"
BETTER, NO_DIFFERENCE, WORSE = "better", "no difference", "worse"
BEFORE, AFTER = "before", "adapted"

Score = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Check:
    """
    Both models on the same queries, by nDCG@10.

    :param role: `PSEUDO`, `QUESTIONS`, `JUDGED` or `GENERAL`.
    :param name: Name of the queries, for display.
    :param queries: Their number.
    :param first_stage: The first stage; `None` with pseudo-queries, as it finds the passage by the text that the models do
        not get to see.
    :param before: The model that was adapted.
    :param after: The adapted model.
    :param difference: Of the adapted model to the other.
    """

    role: str
    name: str
    queries: int
    first_stage: float | None
    before: float
    after: float
    difference: Difference

    @property
    def is_better(self) -> bool:
        """Whether the adapted model is significantly better."""
        return self.difference.p < SIGNIFICANT and self.difference.mean > 0

    @property
    def is_worse(self) -> bool:
        """Whether the adapted model is significantly worse."""
        return self.difference.p < SIGNIFICANT and self.difference.mean < 0

    def line(self) -> str:
        """Return the figures, for display."""
        low, high = self.difference.interval
        first = "" if self.first_stage is None else f", first stage {self.first_stage:.3f}"
        return (
            f"{NDCG} {self.before:.3f} -> {self.after:.3f} ({self.difference.mean:+.3f} [{low:+.3f}, {high:+.3f}], "
            f"p {self.difference.p:.4f}){first}, {self.queries} queries"
        )


@dataclass(frozen=True)
class Verdict:
    """
    The verdict.

    :param word: `better`, `no difference` or `worse`.
    :param reason: Why, and what to do, in a sentence.
    """

    word: str
    reason: str


def check(role: str, dev: DevCollection, before: Score, after: Score, *, on_progress: CountCallback) -> Check:
    """
    Measure both models.

    :param role: `PSEUDO`, `QUESTIONS`, `JUDGED` or `GENERAL`.
    :param dev: Queries, candidates and judgements.
    :param before: Scores of the model that was adapted.
    :param after: Scores of the adapted model.
    :param on_progress: Called with queries done and total queries, of both models together.
    """
    total = 2 * len(dev.queries)
    old = dev.measure(before, measures=[NDCG], on_progress=lambda done, _: on_progress(done, total))
    new = dev.measure(after, measures=[NDCG], on_progress=lambda done, _: on_progress(done + len(dev.queries), total))
    evaluations = {BEFORE: old.evaluations[MODEL], AFTER: new.evaluations[MODEL]}
    return Check(
        role=role,
        name=dev.name,
        queries=len(dev.queries),
        first_stage=None if role in (PSEUDO, QUESTIONS) else old.evaluations[FIRST_STAGE].means[NDCG],
        before=evaluations[BEFORE].means[NDCG],
        after=evaluations[AFTER].means[NDCG],
        difference=compare_evaluations(evaluations, [(BEFORE, AFTER)]).between(BEFORE, AFTER, NDCG),
    )


def judge(checks: Sequence[Check]) -> Verdict:
    """
    Decide whether the adapted model should be used.

    Judged queries decide where there are any: pseudo-queries only resemble what people ask. Without them, questions that
    stand in the passages do. Headings and phrases prove nothing: a model that got better at them need not have got better
    at questions (`benchmarks/bundled_model/LOG.md`, 7). In any case the model must not be significantly worse on general
    queries.

    :param checks: At least the one on pseudo-queries or questions.
    """
    by_role = {one.role: one for one in checks}
    worse = [one for one in checks if one.is_worse]
    deciding = next(by_role[role] for role in (JUDGED, QUESTIONS, PSEUDO) if role in by_role)
    if worse:
        return Verdict(
            WORSE, f"significantly worse on {' and '.join(one.role for one in worse)}: keep the model that you have"
        )
    if deciding.is_better and deciding.role == PSEUDO:
        return Verdict(
            NO_DIFFERENCE,
            f"better on {deciding.role}, but headings and phrases prove nothing about questions: judge some "
            "(`rerank judge`) and run it again with them, or keep the model that you have",
        )
    if deciding.is_better:
        return Verdict(BETTER, f"significantly better on {deciding.role}, and not worse on the others: use it")
    return Verdict(
        NO_DIFFERENCE, f"no significant difference on {deciding.role}: do not use it, the model that you have is as good"
    )
