"""Write a report: a folder with an HTML page, a Markdown file, plots, runs and figures."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rerank_plugin.collections.trec import write_qrels, write_run
from rerank_plugin.errors import InputFileError, MissingDependencyError
from rerank_plugin.evaluation.report.content import Report, make_report
from rerank_plugin.evaluation.result import EvalResult
from rerank_plugin.evaluation.verdicts import verdicts
from rerank_plugin.files import replace_file

FORMAT = 1
PLOTS = "plots"


def check_report_packages() -> None:
    """
    Check that reports can be written, before any work is done.

    :raises MissingDependencyError: If jinja2 or matplotlib is not installed.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise MissingDependencyError(f"the report needs {package}: pip install 'rerank-plugin[eval]'")


def write_report(result: EvalResult, folder: Path) -> list[Path]:
    """
    Write `report.html`, `report.md`, `plots/*.png`, `results.json`, and runs and judgements that `trec_eval` reads.

    :param result: The evaluation.
    :param folder: Target folder; created if it does not exist.
    :returns: The page and the Markdown file.
    :raises InputFileError: If the folder cannot be written.
    :raises MissingDependencyError: If jinja2 or matplotlib is not installed.
    """
    pages = write_pages(make_report(result), folder, name="report", figures="results.json", plain=as_json(result))
    with reporting_to(folder):
        for name, run in result.runs.items():
            write_run(folder / "runs" / f"{name}.run", run, tag=re.sub(r"\s", "_", name))
        write_qrels(folder / "qrels.txt", result.qrels)
    return pages


def write_pages(report: Report, folder: Path, *, name: str, figures: str, plain: dict[str, Any]) -> list[Path]:
    """
    Write a page, the same as Markdown, their plots, and the figures.

    :param report: The contents.
    :param folder: Target folder; created if it does not exist.
    :param name: Name of page and Markdown file, without the extension.
    :param figures: Name of the file with the figures.
    :param plain: The figures.
    :returns: The page and the Markdown file.
    :raises InputFileError: If the folder cannot be written.
    :raises MissingDependencyError: If jinja2 or matplotlib is not installed.
    """
    files = [(folder / f"{name}.html", "page.html.j2"), (folder / f"{name}.md", "report.md.j2")]
    with reporting_to(folder):
        for path, template in files:
            with replace_file(path) as file:
                # A lone surrogate, possible in JSON but not in UTF-8, must not stop the report.
                file.write(render(template, report).encode(errors="replace").decode())
        for plot in report.plots:
            plot.save_png(folder / PLOTS)
        with replace_file(folder / figures) as file:
            json.dump({"format": FORMAT, **plain}, file, indent=1)
    return [path for path, _ in files]


@contextmanager
def reporting_to(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system into an error that names the folder."""
    try:
        yield
    except OSError as error:
        raise InputFileError(f"the report cannot be written to {folder}: {error.strerror}") from error


def render(template: str, report: Report) -> str:
    """
    Render a template of this folder.

    :param template: Its file.
    :param report: The contents.
    :raises MissingDependencyError: If jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingDependencyError("the report needs jinja2: pip install 'rerank-plugin[eval]'") from error
    is_page = template.endswith(".html.j2")
    environment = Environment(
        loader=PackageLoader("rerank_plugin.evaluation.report", "."),
        autoescape=is_page,  # noqa: S701 - the filter `cell` escapes for Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A bold cell is written **so**; an unescaped vertical bar would end a cell of a Markdown table.
    environment.filters["bold"] = lambda cell: (
        Markup("<strong>{}</strong>").format(cell.strip("*")) if cell.startswith("**") else cell
    )
    environment.filters["cell"] = lambda cell: str(cell).replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
    environment.globals["svg"] = lambda plot: Markup(plot.svg())  # noqa: S704 - matplotlib's own output, texts escaped by it
    return environment.get_template(template).render(report=report)


def as_json(result: EvalResult) -> dict[str, Any]:
    """
    Return an evaluation as plain values.

    :param result: The evaluation.
    """
    return {
        "title": result.title,
        "measure": result.measure,
        "queries": len(result.queries),
        "facts": result.facts,
        "systems": {
            name: {
                "measures": evaluation.means,
                "without_hits": list(evaluation.without_hits),
                "pairs": result.pairs.get(name),
                "per_query": evaluation.per_query,
            }
            for name, evaluation in result.evaluations.items()
        },
        "differences": [asdict(difference) for difference in result.comparison.differences],
        "verdicts": [asdict(verdict) for verdict in verdicts(result)],
        "latencies": [asdict(latency) for latency in result.latencies],
        "depth_curves": [asdict(curve) for curve in result.curves],
        "failures": [{"system": name, "query": answer.query, "error": answer.error} for name, answer in result.failures],
        "without_curve": result.without_curve,
        "remarks": result.remarks,
        "without_relevant": list(next(iter(result.evaluations.values())).without_relevant),
    }
