"""Copying all documents with their embeddings from one place to another, so that nothing has to be embedded again."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rerank_plugin.checks import check_number
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.files import replace_file
from rerank_plugin.indexing.places import Place, checkpoint_file, open_place
from rerank_plugin.progress import CountCallback
from rerank_plugin.store.indexing_lock import indexing_lock

WAIT_SECONDS = 600.0
FORMAT = 1
# Progress is noted after each part, so that a killed copy writes at most one part twice.
_DOCUMENTS_PER_PART = 500


@dataclass(frozen=True)
class CopyReport:
    """
    The result of a copy.

    :param source: Where the documents are copied from.
    :param target: Where they are copied to.
    :param copied: Number of documents that were written now.
    :param resumed: Number of documents that an interrupted copy had written before.
    :param total: Number of documents in the target afterwards.
    """

    source: str
    target: str
    copied: int
    resumed: int
    total: int


@dataclass(frozen=True)
class _Checkpoint:
    """
    How far a copy has got.

    :param state: State of the source.
    :param before: Number of documents in the target before the first part.
    :param after: Position of the last document that was written.
    :param copied: Number of documents that were written.
    """

    state: str
    before: int
    after: int = 0
    copied: int = 0


def copy_documents(
    source: str | Path,
    target: str | Path,
    *,
    progress: CountCallback | None = None,
    wait: float = WAIT_SECONDS,
    on_report: Callable[[str], None] | None = None,
) -> CopyReport:
    """
    Copy all documents with their embeddings; nothing is embedded again.

    A document replaces the one that has its id in the target; other documents there stay. An interrupted copy is resumed,
    if the source has not changed since, and otherwise begins again. At the end the documents are counted.

    The record of the indexed files is not copied: `index_paths` reads the files again, and replaces their passages.

    :param source: Folder of an index, or name or path of a pipeline whose document store is meant.
    :param target: The same.
    :param progress: Called with the documents written and in total.
    :param wait: Seconds to wait for another run that writes into the target; 0 to fail at once.
    :param on_report: Called with a message if the copy has to wait.
    :returns: The result.
    :raises InvalidValueError: If source and target are the same.
    :raises PipelineConfigError: If a pipeline cannot be read, or does not name one document store.
    :raises MissingDependencyError: If the package of a document store is not installed.
    :raises StoreError: If the source is empty, one of the two cannot be used, or documents are missing at the end.
    :raises BusyError: If another run still writes into the target when the time is up.
    """
    check_number("wait", wait, least=0)
    origin = open_place(source)
    try:
        destination = open_place(target)
        try:
            if origin.folder.resolve() == destination.folder.resolve():
                raise InvalidValueError(f"{source} and {target} are the same place, {origin}: name another one to copy to")
            if not origin.count():
                raise StoreError(f"{origin} holds no documents: there is nothing to copy")
            with indexing_lock(destination.folder, wait=wait, on_report=on_report, name=str(destination)):
                return _copy(origin, destination, progress)
        finally:
            destination.close()
    finally:
        origin.close()


def _copy(origin: Place, destination: Place, progress: CountCallback | None) -> CopyReport:
    file, total = checkpoint_file(origin, destination), origin.count()
    state = origin.state()
    before = _read(file)
    if before is not None and destination.count() < before.copied:
        before = None  # the target was emptied since
    if before is None:
        checkpoint = _Checkpoint(state, before=destination.count())
    else:
        checkpoint = before if before.state == state else _Checkpoint(state, before=before.before)
    resumed = checkpoint.copied
    _write(file, checkpoint)
    if progress:
        progress(resumed, total)
    for after, documents in origin.parts(checkpoint.after, _DOCUMENTS_PER_PART):
        destination.write(documents)
        checkpoint = _Checkpoint(state, checkpoint.before, after, checkpoint.copied + len(documents))
        _write(file, checkpoint)
        if progress:
            progress(checkpoint.copied, total)
    stored = destination.count()
    _check_count(stored, checkpoint, origin, destination)
    file.unlink(missing_ok=True)
    return CopyReport(str(origin), str(destination), checkpoint.copied - resumed, resumed, stored)


def _check_count(stored: int, checkpoint: _Checkpoint, origin: Place, destination: Place) -> None:
    """Check the number of documents in the target; those that were there before may have been replaced, or have stayed."""
    copied, before = checkpoint.copied, checkpoint.before
    if stored < copied:
        reason = "another process deletes documents there, or copied another index over it: copy again"
    elif stored > copied + before:
        reason = "another process writes there, or documents were deleted from the source since an earlier, interrupted copy"
    else:
        return
    raise StoreError(
        f"{destination} has {stored:,} documents after {copied:,} were copied from {origin} ({before:,} were there before): "
        f"{reason}"
    )


def _read(file: Path) -> _Checkpoint | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return _Checkpoint(**data["checkpoint"]) if data["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another version: begin again, which is only slower
        return None


def _write(file: Path, checkpoint: _Checkpoint) -> None:
    with replace_file(file) as text:
        text.write(json.dumps({"format": FORMAT, "checkpoint": asdict(checkpoint)}))
