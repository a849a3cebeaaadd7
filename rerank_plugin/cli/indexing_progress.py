"""What `rerank index` says while it runs, and when it is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.cli.printing import counted
from rerank_plugin.cli.progress import StepReporter
from rerank_plugin.errors import StoreError
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


def interruption_message(index: Path) -> str:
    """
    Return what to say after an interruption: what is kept, and how to go on.

    :param index: Folder of the index.
    """
    from rerank_plugin.store import HybridDocumentStore

    nothing = "interrupted before anything was written: run the same command again"
    if not index.is_dir():
        return nothing
    store = HybridDocumentStore(index)
    try:
        passages = store.count_documents()
        files = store.indexed_files.snapshot().files.values()
    except StoreError as error:
        return f"interrupted; {error}"
    finally:
        store.close()
    if not passages:
        return nothing
    complete = sum(file.complete for file in files)
    state = f"{counted(complete, 'file')} complete, {len(files) - complete:,} in part"
    kept = f"{counted(passages, 'passage')} ({state})"
    return f"interrupted; kept in {index}: {kept}. Run the same command again to go on from there"
