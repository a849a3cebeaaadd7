"""The figures of a benchmark as Markdown, JSON and a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerank_plugin.errors import MissingDependencyError
from rerank_plugin.evaluation.bench.run import BenchResult

COLORS = ("#9aa0a6", "#1a73e8", "#12b5cb", "#e8710a", "#9334e6", "#188038")


def write_report(result: BenchResult, folder: Path, facts: dict[str, Any]) -> list[Path]:
    """
    Write `bench.md`, `bench.json` and `bench.png`.

    :param result: The figures.
    :param folder: Where to; made if it is not there.
    :param facts: What was measured and on what, for the head of the report.
    :returns: The files.
    :raises MissingDependencyError: If matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, data, picture = folder / "bench.md", folder / "bench.json", folder / "bench.png"
    tables = [_table([facts]), _table(result.rows())]
    if result.quality:
        tables.append(_table([{"system": name, **values} for name, values in result.quality.items()]))
    if result.megabytes:
        rows = [{"system": name, "peak MB above the model": round(mb)} for name, mb in result.megabytes.items()]
        tables.append(_table(rows))
    table.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    data.write_text(json.dumps({"facts": facts, **vars(result)}, indent=1) + "\n", encoding="utf-8")
    _draw(result, picture)
    return [table, data, picture]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _draw(result: BenchResult, file: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("the picture needs matplotlib: pip install 'rerank-plugin[bench]'") from error
    rows = result.rows()
    cases, systems = list(result.milliseconds), list(next(iter(result.milliseconds.values())))
    figure = Figure(figsize=(9, 1.1 + 0.28 * len(cases) * (len(systems) + 1)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(systems)
    for number, system in enumerate(systems):
        mine = [row for row in rows if row["system"] == system]
        places = [cases.index(row["case"]) + (number - (len(systems) - 1) / 2) * height for row in mine]
        bars = axes.barh(places, [row["median ms"] for row in mine], height * 0.9, label=system, color=COLORS[number % 6])
        axes.bar_label(bars, [f"{row['median ms']:.0f} ms ({row['speed']:.1f}x)" for row in mine], padding=4, fontsize=8)
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 3)
    axes.set_xlabel("milliseconds a query, median (logarithmic)")
    axes.set_ylabel("candidates x tokens")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(systems), frameon=False)
    figure.savefig(file, dpi=150)
