"""The result of `rerank search`: for the terminal, and as JSON for programs."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rerank_plugin.cli.printing import cell

if TYPE_CHECKING:
    from rerank_plugin.results import Hit, SearchResult

# From this width on the best sentence has a column of its own; below, it has lines of its own under the title.
WIDE = 130
# A longer sentence is cut, which the ellipsis shows. `--json` has all of it.
_MOST_CHARACTERS = 400
# Other places of a text that are listed before "and ... more".
_MOST_PLACES = 3
_GAP = 2


def show_hits(result: "SearchResult", *, has_second_stage: bool, console: Console | None = None) -> None:
    """
    Print hits, what was left out of them, and the time of each component.

    :param result: The result.
    :param has_second_stage: Whether the ranks and scores of the first stage are shown, too.
    :param console: Where to print; `None`: standard output.
    """
    console = console or Console()
    if result.hits:
        console.print(hits_table(result, has_second_stage=has_second_stage, width=console.width))
    else:
        console.print("no hits")
    console.print()
    if left_out := _left_out(result):
        console.print(cell(left_out, "dim"))
    console.print(cell(_times(result.milliseconds), "dim"))


def hits_table(result: "SearchResult", *, has_second_stage: bool, width: int) -> RenderableType:
    """
    Lay out hits: as a table if it is wide enough, otherwise with the place and the sentence under each title.

    :param result: The result; it has hits.
    :param has_second_stage: Whether the ranks and scores of the first stage are shown, too.
    :param width: Columns of the terminal.
    """
    numbers = [_numbers(hit, has_second_stage=has_second_stage) for hit in result.hits]
    heads = ["score", "moved", "first stage\nrank     score"][: 3 if has_second_stage else 1]
    if width >= WIDE:
        return _columns(result, heads, numbers)
    # Every hit is a grid of its own, so that the lines under a title have the full width; the columns have fixed widths.
    widths = [
        max(cell_.cell_len for cell_ in [*(row[column] for row in numbers), *map(Text, head.split("\n"))])
        for column, head in enumerate(heads)
    ]
    blocks: list[RenderableType] = [_grid("rank", "passage", [Text(head) for head in heads], widths, style="bold")]
    for hit, row in zip(result.hits, numbers, strict=True):
        title, *others = _lines(hit)
        blocks.append(_grid(str(hit.rank), title, row, widths))
        blocks += [_Indented(line) for line in [*others[:1], *_sentence(hit), *others[1:]]]
        blocks.append("")
    return Group(*blocks[:-1])


class _Indented:
    """A text that stands under the titles; unlike Rich's `Padding` it leaves no blanks at the ends of its lines."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        indent = 4 + _GAP
        for line in self._text.wrap(console, max(options.max_width - indent, 1), overflow="fold"):
            yield Text(" " * indent).append_text(line)


def _grid(rank: str, title: str | Text, numbers: list[Text], widths: list[int], style: str = "") -> Table:
    grid = Table.grid(padding=(0, _GAP, 0, 0), expand=True)
    grid.add_column(justify="right", width=4, style=style, vertical="bottom" if style else "top")
    grid.add_column(ratio=1, overflow="fold", style=style, vertical="bottom" if style else "top")
    for width in widths:
        grid.add_column(justify="right", width=width, style=style, vertical="bottom" if style else "top", no_wrap=True)
    grid.add_row(rank, title, *numbers)
    return grid


def _columns(result: "SearchResult", heads: list[str], numbers: list[list[Text]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", expand=True)
    table.add_column("rank", justify="right", vertical="top")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("passage", ratio=4, overflow="fold")
    table.add_column("best sentence", ratio=5, overflow="fold")
    for hit, row in zip(result.hits, numbers, strict=True):
        # An empty line between two hits, except after the last.
        passage = Group(*_lines(hit), *([""] if hit is not result.hits[-1] else []))
        table.add_row(str(hit.rank), *row, passage, Group(*_sentence(hit)))
    return table


def _lines(hit: "Hit") -> list[Text]:
    """Return the title of a hit, its place, and the other places of its text; without a title the place alone."""
    place = place_text(hit.document.meta)
    lines = [cell(hit.document.meta.get("title") or place or hit.document.id, "bold")]
    if place and lines[0].plain != place:
        lines.append(cell(place, "cyan"))
    if others := [place_text(other, beside=hit.source) or str(other.get("id", "")) for other in hit.also_in]:
        more = f" and {len(others) - _MOST_PLACES} more places (--json lists all)" if len(others) > _MOST_PLACES else ""
        lines += [] if place else [Text()]
        lines.append(cell(f"also in {'; '.join(others[:_MOST_PLACES])}{more}", "dim"))
    return lines


def _sentence(hit: "Hit") -> list[Text]:
    if not hit.sentence:
        return []
    is_long = len(hit.sentence) > _MOST_CHARACTERS
    return [cell(f"{hit.sentence[:_MOST_CHARACTERS].rstrip()}…" if is_long else hit.sentence)]


def place_text(place: Mapping[str, Any], *, beside: str | None = None) -> str:
    """
    Return where a passage stands as text: the file, and page, section or id in it.

    :param place: The meta of a passage, or an entry of `also_in`.
    :param beside: A file that need not be named again.
    :returns: The text, with the path as seen from the current folder if that is shorter; empty if nothing is known.
    """
    source = place.get("source")
    parts = [_path(str(source))] if source and str(source) != beside else []
    if place.get("page") is not None:
        parts.append(f"page {place['page']}")
    parts += [str(place[name]) for name in ("section", "doc_id") if place.get(name)]
    return ", ".join(parts) or (_path(str(source)) if source else "")


def _path(source: str) -> str:
    try:
        relative = os.path.relpath(source)
    except (OSError, ValueError):  # the current folder was deleted, or is on another drive
        return source
    return relative if Path(source).is_absolute() and len(relative) < len(source) else source


def _numbers(hit: "Hit", *, has_second_stage: bool) -> list[Text]:
    """Return the cells `score`, `moved` and `first stage`."""
    score = Text(_score(hit.document.score))
    if not has_second_stage:
        return [score]
    rank = "-" if hit.first_stage_rank is None else str(hit.first_stage_rank)
    return [score, _moved(hit), Text(f"{rank}  {_score(hit.first_stage_score):>8}")]


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _moved(hit: "Hit") -> Text:
    up = (hit.first_stage_rank or hit.rank) - hit.rank
    if up > 0:
        return Text(f"▲ {up}", style="green")
    return Text(f"▼ {-up}", style="red") if up < 0 else Text("=", style="dim")


def _left_out(result: "SearchResult") -> str:
    reasons = []
    if result.collapsed:
        plural = "s" if result.collapsed > 1 else ""
        reasons.append(f'{result.collapsed} near duplicate{plural} (listed under "also in")')
    if result.over_limit:
        plural = "s" if result.over_limit > 1 else ""
        reasons.append(f"{result.over_limit} further hit{plural} of the same files (--max-per-source)")
    return f"left out: {', '.join(reasons)}" if reasons else ""


def _times(milliseconds: Mapping[str, float]) -> str:
    stages = ", ".join(f"{name} {time:.1f}" for name, time in milliseconds.items())
    return f"milliseconds: {stages}, together {sum(milliseconds.values()):.1f}"
