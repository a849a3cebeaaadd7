"""The report of a sweep."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rerank_plugin.evaluation.pareto import SweepPoint, SweepResult
from rerank_plugin.evaluation.report.content import Report, Table
from rerank_plugin.evaluation.report.plots import front_plot
from rerank_plugin.evaluation.report.write import write_pages

_FRONT = (
    "Fastest first; each is better than all before it. p: randomisation tests against the best setting and against the "
    "first stage alone, not corrected."
)
_CHOICE = "The fastest setting that is not significantly worse than the best (p at least 0.05, not corrected)."


def write_sweep(result: SweepResult, folder: Path) -> list[Path]:
    """
    Write `sweep.html`, `sweep.md`, `sweep.json` and the plot.

    :param result: The sweep.
    :param folder: Target folder; created if it does not exist.
    :returns: The page and the Markdown file.
    :raises InputFileError: If the folder cannot be written.
    :raises MissingDependencyError: If jinja2 or matplotlib is not installed.
    """
    choice = result.choice
    report = Report(
        title=f"Sweep: {result.title}",
        facts={"queries": result.queries, "settings": len(result.points), "choice": choice.name, "best": result.best.name},
        measure=result.measure,
        tables=[
            Table("Choice", _choice_rows(choice, result.retrieved), _CHOICE),
            Table("Pareto front", [_row(result, point) for point in result.front], _FRONT),
        ],
        details=[Table("All settings", [_row(result, point) for point in result.points])],
        plots=[front_plot(result)],
        examples=[],
        notes=list(result.troubles),
    )
    return write_pages(report, folder, name="sweep", figures="sweep.json", plain=sweep_as_json(result))


def sweep_as_json(result: SweepResult) -> dict[str, Any]:
    """
    Return a sweep as plain values.

    :param result: The sweep.
    """
    return {
        "title": result.title,
        "measure": result.measure,
        "queries": result.queries,
        "retrieved": result.retrieved,
        "troubles": list(result.troubles),
        "choice": _plain(result.choice),
        "best": _plain(result.best),
        "tried": [_plain(point) for point in result.points],
    }


def _plain(point: SweepPoint) -> dict[str, Any]:
    return {
        **(asdict(point.setting) if point.setting else {"candidates": None}),
        "ranker": point.setting.ranker_parameters if point.setting else None,
        "quality": point.quality,
        "milliseconds": point.milliseconds,
        "p": point.p,
        "p_first": point.p_first,
        "on_front": point.on_front,
    }


def _choice_rows(choice: SweepPoint, retrieved: int | None) -> list[dict[str, str]]:
    if choice.setting is None:
        return [{"parameter": "ranker", "value": "none: leave the second stage out"}]
    candidates = choice.setting.candidates
    depths = {"top_k of the retriever": candidates}
    if retrieved is not None:
        depths = {"top_k of the retrievers": retrieved, "top_k of the joiner": candidates}
    parameters = {**depths, **choice.setting.ranker_parameters}
    return [{"parameter": name, "value": str(value)} for name, value in parameters.items()]


def _row(result: SweepResult, point: SweepPoint) -> dict[str, str]:
    marks = [name for name, other in (("best", result.best), ("choice", result.choice)) if other is point]
    return {
        "setting": point.name,
        result.measure: f"{point.quality:.4f}",
        "ms per query": f"{point.milliseconds:.1f}",
        "p to best": f"{point.p:.4f}",
        "p to first stage": f"{point.p_first:.4f}",
        "": ", ".join(marks),
    }
