"""What `rerank index` says while it runs, and when it is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.cli.printing import counted
from rerank_plugin.cli.progress import StepReporter
from rerank_plugin.errors import RerankError, StoreError
from rerank_plugin.progress import CountCallback, following_parts

# Parts of the names of components in the indexing pipelines, and what these do. Others are too quick to be named.
_ACTIVITIES = {"convert": "converting", "split": "splitting", "embed": "embedding", "writ": "writing"}


@contextmanager
def indexing_progress(bar: StepReporter) -> Iterator[CountCallback]:
    """
    Follow indexing as long as the `with` block runs, and show what is being done.

    :param bar: Shows the progress.
    :returns: A callback that takes units done and units in total.
    """
    bar.activity("looking for new and changed files")
    from rerank_plugin.pipelines.timing import stopwatch

    counts: list[tuple[int, int]] = []
    has_begun = False
    activity: str | None = None

    def on_start(component: str) -> None:
        nonlocal has_begun, activity
        activity = next((text for part, text in _ACTIVITIES.items() if part in component.lower()), None)
        if not has_begun and counts:
            bar(*counts[-1])  # the models are loaded: the rate counts from here
        has_begun = True
        if activity is not None:
            bar.activity(activity)

    def on_progress(done: int, total: int) -> None:
        if not counts:
            bar.activity("loading models")
        counts[:] = [(done, total)]
        bar(done, total)

    def on_parts(name: str, done: int, total: int | None) -> None:
        if activity is not None:
            bar.activity(f"{activity} {done:,}{'' if total is None else f' of {total:,}'} {name}")

    with stopwatch(on_start), following_parts(on_parts):
        yield on_progress


def interruption_message(pipeline: str, index: Path | None) -> str:
    """
    Return what to say after an interruption: what is kept, and how to go on.

    :param pipeline: Name or path of the indexing pipeline.
    :param index: Folder of the index, or of the manifest of another store.
    """
    from rerank_plugin.indexing.pipeline import IndexingPipeline

    nothing = "interrupted before anything was written: run the same command again"
    try:
        indexing = IndexingPipeline(pipeline, index=index)
    except RerankError as error:
        return f"interrupted; {error}"
    target = indexing.target
    try:
        progress = target.progress()
    except StoreError as error:
        return f"interrupted; {error}"
    finally:
        indexing.close()
    if not progress.passages:
        return nothing
    files = f"{counted(progress.complete, 'file')} complete, {progress.partial:,} in part"
    kept = f"{counted(progress.passages, 'passage')} ({files})"
    return f"interrupted; kept in {target}: {kept}. Run the same command again to go on from there"
