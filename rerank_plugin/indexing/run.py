"""An indexing run: find new and changed files, convert, split, embed and store them, and record the progress."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rerank_plugin.checks import check_number
from rerank_plugin.errors import InputFileError
from rerank_plugin.indexing.content import SourceFile
from rerank_plugin.indexing.corpora import CorpusPlan, index_corpus, plan_corpus
from rerank_plugin.indexing.documents import index_files
from rerank_plugin.indexing.job import IndexingJob, IndexReport
from rerank_plugin.indexing.pipeline import IndexingPipeline
from rerank_plugin.indexing.sources import absolute, find_sources
from rerank_plugin.indexing.text_repair import TextRepair
from rerank_plugin.progress import CountCallback

# How long a run waits by default for another run on the same index.
WAIT_SECONDS = 600.0


def index_paths(  # noqa: PLR0913 - options, each with a default
    paths: Iterable[Path],
    index: Path | None,
    *,
    pipeline: str | Path = "indexing",
    language: str | None = None,
    embedding_model: str | None = None,
    prune: bool = False,
    repair: bool = False,
    progress: CountCallback | None = None,
    wait: float = WAIT_SECONDS,
    on_report: Callable[[str], None] | None = None,
) -> IndexReport:
    """
    Index files and folders.

    Files that were indexed before and have not changed are skipped; the passages of changed files are replaced. An
    interrupted run is resumed. A file that cannot be read is reported, and the others are indexed.

    A passage whose text and title occur several times, in one file or in several, is stored once. Its meta is that of the
    first place, by path, page and section; `also_in` lists the `source`, and `page` and `section` if known, of each of the
    others. Filters, such as on `meta.source`, see the first place only. When the file of the first place is changed or
    pruned, the passage moves to the next one. Documents of a corpus stay separate, as judgements name them by their ids.

    A pipeline whose writer has another document store, such as Qdrant's, indexes into that: the record of the files is then
    a manifest on this machine. There a passage that occurs several times is stored as often.

    Only one run at a time may index files into an index; searches and other writes are not blocked.

    :param paths: Files and folders; see `find_sources`.
    :param index: Folder of the index; created if it does not exist. With another store, a folder for the manifest. `None`:
        the folder that the pipeline names; with another store, the user's data folder.
    :param pipeline: Name or path of the indexing pipeline.
    :param language: Language of the keyword index; `None`: that of the existing index, English for a new one.
    :param embedding_model: Replaces the embedding model of the pipeline.
    :param prune: Drop the passages of files below `paths` that were indexed and no longer exist.
    :param repair: Repair mojibake (`â€¦` for an ellipsis) in texts; PDF and Office files are not changed.
    :param progress: Called with the units done and in total; a unit is a passage of a corpus, or any other file.
    :param wait: Seconds to wait for another run on the same index to end; 0 to fail at once.
    :param on_report: Called with a message if the run has to wait.
    :returns: The result of the run.
    :raises InputFileError: If one of `paths` does not exist.
    :raises InvalidValueError: If `wait` is not a number of at least 0.
    :raises PipelineConfigError: If the pipeline cannot be loaded or lacks a component that indexing needs.
    :raises StoreError: If the index cannot be written, or was built with other settings, such as another language.
    :raises BusyError: If another run still works on the index when the time is up.
    :raises MissingDependencyError: If texts shall be repaired, and ftfy is not installed, or the package of a store is not.
    """
    check_number("wait", wait, least=0)
    repairer = TextRepair() if repair else None
    given, index = [path.expanduser() for path in paths], index.expanduser() if index else None
    indexing = IndexingPipeline(pipeline, index=index, language=language, embedding_model=embedding_model, repair=repair)
    try:
        indexing.target.check()
        gone = _gone(indexing, given) if prune else []
        listing = find_sources([path for path in given if path not in gone])
        listing.roots += [absolute(path) for path in gone]
        report = IndexReport(
            target=str(indexing.target),
            failed=listing.failed,
            skipped=listing.skipped,
            skipped_types=listing.counts(listing.other_types),
            missing_extra=listing.counts(listing.unreadable),
        )
        if not listing.files and not prune:
            return report
        with indexing.target.lock(wait=wait, on_report=on_report):
            known = indexing.target.indexed_files.snapshot()  # under the lock, so that no other run changes it
            job = IndexingJob(indexing, known, report, progress, repairer)
            _index(job, listing.files)
            if prune:
                lost = listing.lost(known.sources)
                indexing.target.indexed_files.forget(lost, passages=True)
                report.pruned = len(lost)
            indexing.target.finish_run()
        return report
    finally:
        indexing.close()


def is_up_to_date(
    paths: Iterable[Path],
    index: Path,
    *,
    pipeline: str | Path = "indexing",
    embedding_model: str | None = None,
    repair: bool = False,
) -> bool:
    """
    Return whether `index_paths` would have nothing to do, without loading a model.

    :param paths: See `index_paths`.
    :param index: See `index_paths`.
    :param pipeline: See `index_paths`.
    :param embedding_model: See `index_paths`.
    :param repair: See `index_paths`.
    :raises InputFileError: If one of `paths` does not exist.
    :raises StoreError: If the index cannot be read.
    """
    listing, index = find_sources(paths), index.expanduser()
    if listing.failed or not index.is_dir():
        return False
    indexing = IndexingPipeline(pipeline, index=index, embedding_model=embedding_model, repair=repair)
    try:
        known = indexing.target.indexed_files.snapshot()
        complete = [file for file in listing.files if file.source in known.files and known.files[file.source].complete]
        return len(complete) == len(listing.files) and all(
            known.is_whole(file.source, file.fingerprint(indexing.salt)) for file in complete
        )
    finally:
        indexing.close()


def _index(job: IndexingJob, files: Iterable[SourceFile]) -> None:
    """Plan the run, validating corpora line by line, and carry it out."""
    corpora: list[CorpusPlan] = []
    others: list[SourceFile] = []
    for file in files:
        try:
            plan = plan_corpus(job, file) if file.is_corpus else None
            if plan:
                corpora.append(plan)
            elif file.is_corpus or job.is_unchanged(file):
                job.report.unchanged += 1
            else:
                others.append(file)
        except InputFileError as error:
            job.report.failed.append(str(error))
    if not corpora and not others:
        return
    job.expect(sum(plan.documents for plan in corpora) + len(others))
    job.advance(0)
    for plan in corpora:
        index_corpus(job, plan)
    index_files(job, others)


def _gone(indexing: IndexingPipeline, paths: Sequence[Path]) -> list[Path]:
    """Return paths that were indexed and no longer exist. With `prune`, too, a path that was never indexed is an error."""
    missing = [path for path in paths if not path.exists()]
    sources = [Path(source) for source in indexing.target.indexed_files.snapshot().sources] if missing else []
    return [path for path in missing if any(source.is_relative_to(absolute(path)) for source in sources)]
