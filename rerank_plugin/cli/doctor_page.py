"""The page that `rerank doctor` prints."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_plugin.cli.printing import cell

if TYPE_CHECKING:
    from rerank_plugin.cli.doctor import Row


def show_sections(sections: "Mapping[str, Sequence[Row]]") -> None:
    """Print the rows of each section; a row is good, or a line below it says what to do."""
    console = Console()
    width = max(len(row.name) for rows in sections.values() for row in rows)
    todo = 0
    for title, rows in sections.items():
        table = Table(
            box=None, pad_edge=False, show_header=False, title=cell(title), title_justify="left", title_style="bold"
        )
        table.add_column(no_wrap=True, min_width=4)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        for row in rows:
            value = f"{row.value:,}" if isinstance(row.value, int) else str(row.value)
            mark = Text("-> ", style="yellow") if row.advice else Text("good", style="green")
            table.add_row(mark, cell(row.name, "dim"), cell(value))
            if row.advice:
                todo += 1
                table.add_row("", "", cell(row.advice, "yellow"))
        console.print(table)
        console.print()
    rows_say = "1 row (->) says" if todo == 1 else f"{todo} rows (->) say"
    console.print("everything is good" if not todo else f"{rows_say} what to do", highlight=False)
