"""The contents of a report, computed once for the page and the Markdown file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rerank_plugin.evaluation.comparison import Difference, differences_by_query
from rerank_plugin.evaluation.costs import TOTAL, latencies
from rerank_plugin.evaluation.report.examples import Examples, find_examples
from rerank_plugin.evaluation.report.plots import Plot, cost_plot, depth_plot, gains_plot
from rerank_plugin.evaluation.result import EvalResult
from rerank_plugin.evaluation.significance import bootstrap_intervals
from rerank_plugin.evaluation.verdicts import verdicts

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """
    A table.

    :param title: Title.
    :param rows: Cells by heading, all with the same headings.
    :param note: Explanation below the table.
    :param best: Positions (row, heading) of the best values.
    """

    title: str
    rows: list[Row]
    note: str = ""
    best: frozenset[tuple[int, str]] = frozenset()

    @property
    def headings(self) -> list[str]:
        """The columns."""
        return list(self.rows[0]) if self.rows else []


@dataclass(frozen=True)
class Report:
    """
    The contents of a report.

    :param title: Collection, split and size.
    :param facts: How it was measured.
    :param measure: The main measure.
    :param tables: Quality, differences, cost.
    :param details: Further tables, collapsed on the page.
    :param plots: The plots.
    :param examples: Queries with the largest gains and losses.
    :param notes: Caveats about the figures, failures above all; one line each.
    """

    title: str
    facts: dict[str, int | str]
    measure: str
    tables: list[Table]
    details: list[Table]
    plots: list[Plot]
    examples: list[Examples]
    notes: list[str]


def make_report(result: EvalResult) -> Report:
    """
    Compute the contents of a report.

    :param result: The evaluation.
    """
    intervals = _intervals(result)
    differences = result.comparison.differences
    main = [d for d in differences if d.measure == result.measure]
    others = [d for d in differences if d.measure != result.measure]
    tables = [_quality(result, intervals)]
    if main:
        tables.append(Table(f"Differences in {result.measure}", [_difference(d) for d in main], _PAIRED))
    if decided := verdicts(result):
        rows = [{"system": v.system, "verdict": v.word, "in words": v.text} for v in decided]
        tables.append(Table("Does the second stage pay?", rows))
    if result.outcomes:
        tables.append(_cost(result))
    details = []
    if others:
        rows = [{"measure": d.measure, **_difference(d)} for d in others]
        details.append(Table("Differences in the other measures", rows, "Corrected within each measure."))
    components = latencies(result.outcomes, components=True)
    if components:
        rows = [
            {
                "pipeline": r.system,
                "component": r.stage,
                "queries": str(r.queries),
                "median ms": f"{r.median:.1f}",
                "p95 ms": f"{r.p95:.1f}",
            }
            for r in components
        ]
        details.append(Table("Time of each component", rows))
    return Report(
        title=result.title,
        facts=result.facts,
        measure=result.measure,
        tables=tables,
        details=details,
        plots=_plots(result, intervals),
        examples=find_examples(result),
        notes=_notes(result),
    )


_PAIRED = (
    "Paired over queries. p: two-sided randomisation test; corrected for the comparisons of this table (Holm). "
    "Bold: below 0.05. Interval: 95 % of bootstrap means."
)


def _intervals(result: EvalResult) -> dict[str, tuple[float, float]]:
    values = np.array([list(evaluation.per_query[result.measure].values()) for evaluation in result.evaluations.values()])
    lows, highs = bootstrap_intervals(values.T)
    return {name: (float(low), float(high)) for name, low, high in zip(result.evaluations, lows, highs, strict=True)}


def _quality(result: EvalResult, intervals: dict[str, tuple[float, float]]) -> Table:
    rows: list[Row] = []
    for name, evaluation in result.evaluations.items():
        low, high = intervals[name]
        values = {measure: f"{value:.4f}" for measure, value in evaluation.means.items()}
        rows.append({"system": name, **values, f"95 % of {result.measure}": f"{low:.3f} to {high:.3f}"})
    best = {
        (i, measure)
        for measure in next(iter(result.evaluations.values())).means
        for i, row in enumerate(rows)
        if row[measure] == max(other[measure] for other in rows)
    }
    return Table("Quality", rows, "Means over queries; a query without hits, or that failed, counts 0.", frozenset(best))


def _difference(d: Difference) -> Row:
    return {
        "system": d.system,
        "against": d.baseline,
        "gain": f"{d.mean:+.4f}",
        "interval": f"{d.interval[0]:+.3f} to {d.interval[1]:+.3f}",
        "p": f"{d.p:.4f}",
        "corrected": f"**{d.p_corrected:.4f}**" if d.is_significant else f"{d.p_corrected:.4f}",
        "wins": str(d.wins),
        "ties": str(d.ties),
        "losses": str(d.losses),
    }


def _cost(result: EvalResult) -> Table:
    rows = [
        {
            "pipeline": r.system,
            "stage": r.stage,
            "median ms": f"{r.median:.1f}",
            "p95 ms": f"{r.p95:.1f}",
            "queries timed": str(r.queries),
            "pairs a query": f"{result.pairs[r.system]:.1f}" if r.stage == TOTAL else "",
        }
        for r in result.latencies
    ]
    note = (
        "Wall-clock time, one query after another. Pipelines with the same ranker share its work: each candidate is "
        "scored once, and for each query another of these pipelines is ranked alone and timed."
    )
    return Table("Cost", rows, note)


def _plots(result: EvalResult, intervals: dict[str, tuple[float, float]]) -> list[Plot]:
    plots = []
    means = {name: evaluation.means[result.measure] for name, evaluation in result.evaluations.items()}
    if result.curves:
        reranked = {curve.system for curve in result.curves}
        plots.append(depth_plot(result.curves, result.measure, {n: v for n, v in means.items() if n not in reranked}))
    total = {row.system: row.median for row in result.latencies if row.stage == TOTAL}
    if len(total) > 1:
        plots.append(cost_plot({name: (time, means[name], intervals[name]) for name, time in total.items()}, result.measure))
    pairs = dict.fromkeys((d.baseline, d.system) for d in result.comparison.differences)
    for number, (old, new) in enumerate(pairs):
        deltas = differences_by_query(result.evaluations, (old, new), result.measure)
        plots.append(gains_plot(f"gains-{number + 1}", deltas, result.measure, old, new))
    return plots


def _notes(result: EvalResult) -> list[str]:
    evaluation = next(iter(result.evaluations.values()))
    lines = []
    if evaluation.without_relevant:
        lines.append(
            f"{len(evaluation.without_relevant)} judged queries have no relevant document and are left out: "
            + _first_few(evaluation.without_relevant)
        )
    lines += [f"{name} is {remark}" for name, remark in result.remarks.items()]
    for name, system in result.evaluations.items():
        if system.without_hits:
            lines.append(
                f"{name} returned nothing for {len(system.without_hits)} queries, which count 0: "
                + _first_few(system.without_hits)
            )
        if system.unjudged:
            lines.append(f"{name} answers {system.unjudged} queries that have no judgements: left out")
    lines += [
        f"{name} has no depth curve: its second stage leaves candidates unscored (a time budget, adaptive depth, early "
        "exit or a threshold), failed, or is not known to score each candidate independently"
        for name in result.without_curve
    ]
    for name, answers in result.outcomes.items():
        failed = [answer for answer in answers if answer.has_failed]
        if failed:
            lines.append(
                f"{name} failed on {len(failed)} queries, which count 0; the first, {failed[0].query}: {failed[0].error}"
            )
        for state in ("partial", "fallback"):
            degraded = [answer.query for answer in answers if answer.state == state]
            if degraded:
                lines.append(f"{name} answered {len(degraded)} queries in the state '{state}': {_first_few(degraded)}")
    return lines


def _first_few(queries: Sequence[str]) -> str:
    return ", ".join(queries[:5]) + (" …" if len(queries) > 5 else "")
