"""Results as tables for the terminal and as JSON for programs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rerank_plugin.evaluation.evaluate import Evaluation
    from rerank_plugin.search import Hit, SearchResult


def show_hits(result: "SearchResult", *, has_second_stage: bool) -> None:
    """Print hits as a table, and the time of each component below it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rank", justify="right")
    if has_second_stage:
        table.add_column("was", justify="right")
        table.add_column("moved", justify="right")
    table.add_column("score", justify="right")
    if has_second_stage:
        table.add_column("was", justify="right")
    table.add_column("title", max_width=28)
    table.add_column("best sentence")
    for hit in result.hits:
        table.add_row(*_row(hit, has_second_stage=has_second_stage))
    console = Console()
    if result.hits:
        console.print(table)
    else:
        console.print("no hits")
    console.print(Text(_times(result.milliseconds), style="dim"))


def _row(hit: "Hit", *, has_second_stage: bool) -> list[str | Text]:
    score = f"{hit.document.score:.3f}" if hit.document.score is not None else "-"
    text: list[str | Text] = [Text(hit.title), Text(hit.sentence)]
    if not has_second_stage:
        return [str(hit.rank), score, *text]
    before = f"{hit.first_stage_score:.3f}" if hit.first_stage_score is not None else "-"
    return [str(hit.rank), str(hit.first_stage_rank), _moved(hit), score, before, *text]


def _moved(hit: "Hit") -> Text:
    up = (hit.first_stage_rank or hit.rank) - hit.rank
    if up > 0:
        return Text(f"▲ {up}", style="green")
    return Text(f"▼ {-up}", style="red") if up < 0 else Text("=", style="dim")


def _times(milliseconds: Mapping[str, float]) -> str:
    stages = ", ".join(f"{name} {time:.1f}" for name, time in milliseconds.items())
    return f"milliseconds: {stages}, together {sum(milliseconds.values()):.1f}"


def hits_as_json(query: str, result: "SearchResult") -> dict[str, Any]:
    """Return a search result as plain values."""
    return {
        "query": query,
        "hits": [
            {
                "rank": hit.rank,
                "first_stage_rank": hit.first_stage_rank,
                "score": hit.document.score,
                "first_stage_score": hit.first_stage_score,
                "id": hit.document.id,
                "title": hit.title,
                "sentence": hit.sentence,
                "content": hit.document.content,
                "meta": hit.document.meta,
            }
            for hit in result.hits
        ],
        "milliseconds": result.milliseconds,
    }


def show_evaluations(results: "Mapping[str, Evaluation]", *, title: str) -> None:
    """Print the measures of pipelines side by side."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="")
    table.add_column("pipeline")
    names = list(next(iter(results.values())).measures)
    for name in (*names, "ms a query"):
        table.add_column(name, justify="right")
    best = {name: max(result.measures[name] for result in results.values()) for name in names}
    for pipeline, result in results.items():
        cells = [
            Text(f"{result.measures[name]:.3f}", style="bold" if result.measures[name] == best[name] else "")
            for name in names
        ]
        table.add_row(pipeline, *cells, f"{sum(result.milliseconds.values()):.1f}")
    Console().print(table)


def evaluations_as_json(results: "Mapping[str, Evaluation]", *, queries: int) -> dict[str, Any]:
    """Return evaluations as plain values, by pipeline."""
    return {
        "queries": queries,
        "pipelines": {
            name: {"measures": result.measures, "milliseconds": result.milliseconds, "per_query": result.per_query}
            for name, result in results.items()
        },
    }


def show_facts(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Print names and values, part by part."""
    console = Console()
    for part, facts in parts.items():
        table = Table(box=None, pad_edge=False, show_header=False, title=part, title_justify="left", title_style="bold")
        for name, value in facts.items():
            inner = value.items() if isinstance(value, dict) else [(name, value)]
            for key, fact in inner:
                table.add_row(Text(key, style="dim"), Text(", ".join(fact) if isinstance(fact, list) else _plain(fact)))
        console.print(table)
        console.print()


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_rows(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print tables of rows, title by title; numbers stand right."""
    console = Console()
    for title, rows in tables.items():
        table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
        for name, value in rows[0].items():
            table.add_column(name, justify="left" if isinstance(value, str) else "right", overflow="fold")
        for row in rows:
            table.add_row(*(Text(str(value)) for value in row.values()))
        console.print(table)
        console.print()
