"""The figures of a benchmark as Markdown, JSON and a plot."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InputFileError, MissingDependencyError
from rerank_plugin.evaluation.bench.run import BenchResult
from rerank_plugin.evaluation.measures import NDCG
from rerank_plugin.files import replace_file

COLORS = ("#9aa0a6", "#1a73e8", "#12b5cb", "#e8710a", "#9334e6", "#188038")

Facts = Mapping[str, int | str | None]
Rows = list[dict[str, Any]]


def tables(result: BenchResult) -> dict[str, Rows]:
    """
    Return the figures as rows of values.

    :param result: The figures.
    :returns: Rows by title: `speed`; `work`, with shares of the time of a call under the names of its phases, and with the
        time of the calls one after the other over their time together; `quality` and `memory` where they were measured.
    """
    shown: dict[str, Rows] = {
        "speed": [
            {
                "case": row.case,
                "system": row.system,
                "median ms": row.median,
                "best ms": row.best,
                "p95 ms": row.p95,
                "speed": row.speed,
            }
            for row in result.speeds
        ],
        "work": [
            {
                "case": row.case,
                "system": row.system,
                "us/token": row.token,
                "spread": row.spread,
                **{name: row.phases.get(name) for name in ("model", "tokenizing")},
                **({} if row.in_turn is None else {"in turn": row.in_turn}),
            }
            for row in result.works
        ],
    }
    if result.quality:
        shown["quality"] = [{"system": row.system, NDCG: row.ndcg, "Spearman": row.spearman} for row in result.quality]
    if result.megabytes:
        shown["memory"] = [
            {"system": name, "peak MB": None if peak is None else round(peak)} for name, peak in result.megabytes.items()
        ]
    return shown


def write_report(result: BenchResult, folder: Path, facts: Facts) -> list[Path]:
    """
    Write `bench.md`, `bench.json` and `bench.png`.

    :param result: The figures.
    :param folder: Target folder; created if it does not exist.
    :param facts: Collection, model and machine, for the head of the report.
    :returns: The files.
    :raises InputFileError: If the folder cannot be written.
    :raises MissingDependencyError: If matplotlib is not installed.
    """
    markdown, data, plot = folder / "bench.md", folder / "bench.json", folder / "bench.png"
    plain = {
        "facts": dict(facts),
        "rounds": {
            case: {system: [asdict(one) for one in rounds] for system, rounds in systems.items()}
            for case, systems in result.rounds.items()
        },
        "noise": result.noise,
        "quality": {row.system: {NDCG: row.ndcg, "Spearman": row.spearman} for row in result.quality},
        "megabytes": result.megabytes,
    }
    try:
        with replace_file(markdown) as file:
            parts = [*map(_markdown, ([dict(facts)], *tables(result).values())), *([result.noise] if result.noise else [])]
            file.write("\n\n".join(parts) + "\n")
        with replace_file(data) as file:
            file.write(json.dumps(plain, indent=1) + "\n")
        _plot(result, plot)
    except OSError as error:
        raise InputFileError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return [markdown, data, plot]


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|")


def _plot(result: BenchResult, file: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("the plot needs matplotlib: pip install 'rerank-plugin[bench]'") from error
    cases, systems = list(result.rounds), list(next(iter(result.rounds.values())))
    figure = Figure(figsize=(9, 1.1 + 0.28 * len(cases) * (len(systems) + 1)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(systems)
    for number, system in enumerate(systems):
        rows = [row for row in result.speeds if row.system == system]
        places = [cases.index(row.case) + (number - (len(systems) - 1) / 2) * height for row in rows]
        color = COLORS[number % len(COLORS)]
        bars = axes.barh(places, [row.median for row in rows], height * 0.9, label=system, color=color)
        axes.bar_label(bars, [f"{row.median:.0f} ms ({row.speed:.1f}x)" for row in rows], padding=4, fontsize=8)
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 3)
    axes.set_xlabel("milliseconds per query, median (logarithmic)")
    axes.set_ylabel("candidates x tokens")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(systems), frameon=False)
    with replace_file(file, binary=True) as stream:
        figure.savefig(stream, format="png", dpi=150)
