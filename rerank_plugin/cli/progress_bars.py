"""Progress on a terminal: bars that Rich draws."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from rerank_plugin.cli.estimate import Clock
from rerank_plugin.cli.printing import cell
from rerank_plugin.cli.progress_state import ProgressState

# Columns of a terminal from which there is room for a long bar.
_WIDE = 100


@contextmanager
def terminal_bars(state: ProgressState, console: Console, clock: Clock) -> Iterator[Callable[[], None]]:
    """
    Show a bar for each step on a terminal, as long as the `with` block runs.

    :param state: What is shown.
    :param console: Where.
    :param clock: Returns the time in seconds.
    :returns: A function that shows the state anew.
    """

    # The estimate changes between two reports, so it is asked for whenever the bars are drawn.
    class Remaining(TextColumn):
        def render(self, task: Task) -> Text:
            return cell(state.remaining(task.fields["step"]))

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20 if console.width >= _WIDE else 6),  # what is said beside it must not be cut
        MofNCompleteColumn(),
        TextColumn("{task.fields[activity]}", style="dim"),
        Remaining(""),
    )
    with Progress(*columns, console=console, transient=True, get_time=clock) as bars:
        tasks: dict[str, TaskID] = {}

        def changed() -> None:
            step = state.step
            if step not in tasks:
                for task in tasks.values():  # the activity is that of the step that runs
                    bars.update(task, activity="")
                tasks[step] = bars.add_task(escape(step), total=None, step=step, activity="")
            done, total = state.counts(step)
            bars.update(tasks[step], completed=done, total=total, activity=escape(state.activity))

        yield changed
