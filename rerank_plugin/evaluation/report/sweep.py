"""The report of a sweep."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rerank_plugin.evaluation.report.content import Report, Table
from rerank_plugin.evaluation.report.plots import front_plot
from rerank_plugin.evaluation.report.write import write_pages
from rerank_plugin.evaluation.sweep import SweepResult, Tried

_FRONT = (
    "Fastest first; each is better than all before it. p: randomisation tests against the best setting and against the "
    "first stage alone, not corrected."
)
_CHOICE = "The fastest setting that is not significantly worse than the best (p at least 0.05, not corrected)."


def write_sweep(result: SweepResult, folder: Path) -> list[Path]:
    """
    Write `sweep.html`, `sweep.md`, `sweep.json` and the plot.

    :param result: The sweep.
    :param folder: Where to; made if it is not there.
    :returns: The page and the Markdown file.
    :raises InputFileError: If the folder cannot be written.
    :raises MissingDependencyError: If jinja2 or matplotlib is not installed.
    """
    choice = result.choice
    report = Report(
        title=f"Sweep: {result.title}",
        facts={"queries": result.queries, "settings": len(result.tried), "choice": choice.name, "best": result.best.name},
        measure=result.measure,
        tables=[
            Table("Choice", _choice_rows(choice), _CHOICE),
            Table("Front", [_row(result, tried) for tried in result.front], _FRONT),
        ],
        details=[Table("Everything that was tried", [_row(result, tried) for tried in result.tried])],
        plots=[front_plot(result)],
        examples=[],
        troubles=[],
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
        "choice": _plain(result.choice),
        "best": _plain(result.best),
        "tried": [_plain(tried) for tried in result.tried],
    }


def _plain(tried: Tried) -> dict[str, Any]:
    return {
        **(asdict(tried.setting) if tried.setting else {"candidates": None}),
        "ranker": tried.setting.ranker_parameters if tried.setting else None,
        "quality": tried.quality,
        "milliseconds": tried.milliseconds,
        "p": tried.p,
        "p_first": tried.p_first,
        "on_front": tried.on_front,
    }


def _choice_rows(choice: Tried) -> list[dict[str, str]]:
    if choice.setting is None:
        return [{"parameter": "ranker", "value": "none: leave the second stage out"}]
    parameters = {"top_k of the retrievers and the joiner": choice.setting.candidates, **choice.setting.ranker_parameters}
    return [{"parameter": name, "value": str(value)} for name, value in parameters.items()]


def _row(result: SweepResult, tried: Tried) -> dict[str, str]:
    marks = [name for name, other in (("best", result.best), ("choice", result.choice)) if other is tried]
    return {
        "setting": tried.name,
        result.measure: f"{tried.quality:.4f}",
        "ms a query": f"{tried.milliseconds:.1f}",
        "p to best": f"{tried.p:.4f}",
        "p to first stage": f"{tried.p_first:.4f}",
        "": ", ".join(marks),
    }
