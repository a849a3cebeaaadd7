"""Whether the second stage of a pipeline pays, in words."""

from dataclasses import dataclass

from rerank_plugin.evaluation.comparison import Difference
from rerank_plugin.evaluation.costs import SECOND, Latency
from rerank_plugin.evaluation.fusion_advice import DOES_NOT_PAY, HARMS, PAYS
from rerank_plugin.evaluation.result import EvalResult


@dataclass(frozen=True)
class Verdict:
    """
    Whether a second stage pays.

    :param system: Name of the pipeline.
    :param baseline: The best of the compared systems that do not rerank.
    :param word: `pays`, `does not pay` or `harms`.
    :param text: The same as a sentence, with the figures and what to do.
    """

    system: str
    baseline: str
    word: str
    text: str


def verdicts(result: EvalResult) -> list[Verdict]:
    """
    Return a verdict for each pipeline that reranks, against the best compared system that does not.

    A second stage that is not significantly better than that costs time for nothing.

    :param result: The evaluation.
    """
    reranking = [name for name in result.outcomes if result.pairs.get(name)]
    times = {row.system: row for row in result.latencies if row.stage == SECOND}
    found = []
    for name in reranking:
        differences = [
            d
            for d in result.comparison.differences
            if d.measure == result.measure and d.system == name and d.baseline not in reranking
        ]
        if differences:
            best = max(differences, key=lambda d: result.evaluations[d.baseline].means[d.measure])
            found.append(_verdict(best, times.get(name)))
    return found


def _verdict(difference: Difference, time: Latency | None) -> Verdict:
    d = difference
    figures = (
        f"{d.mean:+.3f} {d.measure} over {d.baseline} [{d.interval[0]:+.3f}, {d.interval[1]:+.3f}], p {d.p_corrected:.4f}"
    )
    cost = "" if time is None else f", for {time.median:.0f} ms a query"
    if d.is_significant and d.mean > 0:
        return Verdict(d.system, d.baseline, PAYS, f"{d.system} pays: {figures}{cost}")
    if d.is_significant:
        advice = "leave the second stage out, blend it (`rerank calibrate` says how), or adapt the model (`rerank adapt`)"
        return Verdict(d.system, d.baseline, HARMS, f"{d.system} makes the ranking worse: {figures}; {advice}")
    return Verdict(
        d.system,
        d.baseline,
        DOES_NOT_PAY,
        f"{d.system} does not pay: no significant difference, {figures}{cost}; use {d.baseline}, or judge more queries",
    )
