"""Evaluations and facts as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_plugin.cli.printing import cell, printable
from rerank_plugin.evaluation.costs import TOTAL
from rerank_plugin.evaluation.fusion_advice import HARMS, PAYS
from rerank_plugin.evaluation.verdicts import verdicts

if TYPE_CHECKING:
    from rerank_plugin.evaluation.pareto import SweepResult
    from rerank_plugin.evaluation.result import EvalResult


def show_evaluation(result: "EvalResult") -> None:
    """Print the measures and costs of all systems, and their gains over the baselines."""
    evaluations, best = result.evaluations, {}
    for name in next(iter(evaluations.values())).per_query:
        best[name] = max(evaluation.means[name] for evaluation in evaluations.values())
    table = Table(
        box=None, pad_edge=False, header_style="bold", title=cell(result.title), title_justify="left", title_style=""
    )
    table.add_column("system", no_wrap=True, min_width=max(map(len, evaluations)))
    for name in (*best, "pairs", "ms", "p95"):
        table.add_column(cell(name), justify="right", overflow="fold")
    times = {row.system: row for row in result.latencies if row.stage == TOTAL}
    for system, evaluation in evaluations.items():
        cells = [
            Text(f"{value:.3f}", style="bold" if value == best[name] else "") for name, value in evaluation.means.items()
        ]
        pairs = f"{result.pairs[system]:.0f}" if result.pairs.get(system) else "-"
        time = times.get(system)
        table.add_row(cell(system), *cells, pairs, *((f"{time.median:.1f}", f"{time.p95:.1f}") if time else ("-", "-")))
    print_table(table)
    differences = [difference for difference in result.comparison.differences if difference.measure == result.measure]
    if not differences:
        return
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=Text(f"\n{printable(result.measure)}, paired"),
        title_justify="left",
        title_style="",
    )
    for name in ("system", "against"):
        table.add_column(name, no_wrap=True)
    for name in ("gain", "95 % interval", "p corr.", "wins", "ties", "losses"):
        table.add_column(name, justify="right", no_wrap=True)
    for d in differences:
        table.add_row(
            cell(d.system),
            cell(d.baseline),
            Text(f"{d.mean:+.3f}", style=("green" if d.mean > 0 else "red") if d.is_significant else ""),
            f"{d.interval[0]:+.3f} to {d.interval[1]:+.3f}",
            Text(f"{d.p_corrected:.4f}", style="bold" if d.is_significant else ""),
            *map(str, (d.wins, d.ties, d.losses)),
        )
    print_table(table)
    console = Console()
    for verdict in verdicts(result):
        console.print()
        console.print(cell(verdict.text, {PAYS: "green", HARMS: "red"}.get(verdict.word, "yellow")), soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table, with its columns closer together where it would be too wide otherwise."""
    console = Console()
    if console.measure(table, options=console.options.update(max_width=1000)).maximum > console.width:
        table.padding = (0, 1, 0, 0)
    console.print(table)


def show_sweep(result: "SweepResult") -> None:
    """Print the Pareto front of a sweep, and the recommended setting."""
    title = f"{result.title}, {len(result.points)} settings; the Pareto front"
    table = Table(box=None, pad_edge=False, header_style="bold", title=cell(title), title_justify="left", title_style="")
    table.add_column("setting")
    for name in (result.measure, "ms", "p to best", "p to first stage"):
        table.add_column(cell(name), justify="right")
    for point in result.front:
        style = "bold green" if point is result.choice else ""
        figures = (f"{point.quality:.4f}", f"{point.milliseconds:.1f}", f"{point.p:.4f}", f"{point.p_first:.4f}")
        table.add_row(cell(point.name, style), *figures)
    Console().print(table)
    choice = result.choice
    Console().print(
        Text(f"\nchoose: {printable(choice.name)}", style="bold"),
        cell(f"the fastest that is not significantly worse than the best ({result.best.name}); p {choice.p:.3f}"),
        *(cell(f"caution: {trouble}", "yellow") for trouble in result.troubles),
        sep="\n",
        soft_wrap=True,
    )


def show_facts(sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Print names and values, section by section."""
    console = Console()
    for title, facts in sections.items():
        table = Table(
            box=None, pad_edge=False, show_header=False, title=cell(title), title_justify="left", title_style="bold"
        )
        for name, value in facts.items():
            inner = value.items() if isinstance(value, dict) else [(name, value)]
            for key, fact in inner:
                table.add_row(cell(key, "dim"), cell(", ".join(map(str, fact)) if isinstance(fact, list) else _plain(fact)))
        console.print(table)
        console.print()


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_rows(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print one table per title; numbers are right-aligned, and what is unknown is a dash."""
    console = Console()
    for title, rows in tables.items():
        if not rows:
            continue
        table = Table(
            box=None, pad_edge=False, header_style="bold", title=cell(title), title_justify="left", title_style="bold"
        )
        for name, value in rows[0].items():
            table.add_column(cell(name), justify="left" if isinstance(value, str) else "right", overflow="fold")
        for row in rows:
            table.add_row(*(cell("-" if value is None else value) for value in row.values()))
        console.print(table)
        console.print()
