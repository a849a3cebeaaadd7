"""What `rerank doctor --pipeline` says of a database that is not ours."""

from contextlib import closing
from pathlib import Path

from rerank_plugin.cli.doctor import Row
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.indexing.foreign_target import ForeignTarget
from rerank_plugin.indexing.pipeline import IndexingPipeline


def examine_store(pipeline: str, folder: Path | None) -> list[Row]:
    """
    Return where the database is, whether it answers, and whether it holds what was indexed into it.

    :param pipeline: Name or path of an indexing pipeline.
    :param folder: Folder of the manifest; `None`: in the user's data folder.
    :raises PipelineConfigError: If the pipeline cannot be read.
    :raises InvalidValueError: If it writes into an index of ours.
    """
    try:
        indexing = IndexingPipeline(pipeline, index=folder)
    except StoreError as error:
        return [Row("database", "cannot be used", str(error))]
    with closing(indexing):
        target = indexing.target
        if not isinstance(target, ForeignTarget):
            raise InvalidValueError(
                f"the pipeline {pipeline} writes into an index: examine it with `rerank doctor --index FOLDER`"
            )
        rows = [Row("database", str(target)), Row("record", str(target.manifest.folder))]
        try:
            documents = target.store.count()
        except StoreError as error:
            return [*rows, Row("documents", "unknown", str(error))]
        progress = target.progress()
        fill = f"fill it: rerank index PATH... --pipeline {pipeline}"
        again = f"run `rerank index` on them again, with --pipeline {pipeline}"
        missing = documents < progress.passages
        return [
            *rows,
            Row("documents", documents, "" if documents else fill),
            Row("passages of recorded files", progress.passages, f"some are missing: {again}" if missing else ""),
            Row("complete files", progress.complete),
            Row("files indexed in part", progress.partial, again if progress.partial else ""),
        ]
