"""Indexing files other than corpora: each is read once, then converted and split in small batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from haystack.dataclasses import ByteStream

from rerank_plugin.components.converters.types import stem
from rerank_plugin.errors import InputFileError
from rerank_plugin.indexing.content import SourceFile
from rerank_plugin.indexing.job import IndexingJob, source_meta
from rerank_plugin.store.sqlite.indexed_files import IndexedFile

_FILES_PER_BATCH = 16
# A batch is in memory several times: as bytes, text and passages.
_BYTES_PER_BATCH = 16 << 20


@dataclass(frozen=True)
class LoadedFile:
    """
    A file that was read.

    :param state: Its record.
    :param stream: Its content, as input of the pipeline.
    """

    state: IndexedFile
    stream: ByteStream

    @property
    def source(self) -> str:
        """The file's path."""
        return self.state.source


def index_files(job: IndexingJob, files: Iterable[SourceFile]) -> None:
    """
    Write the passages of files, and delete their older ones.

    :param job: The run; files that cannot be read or converted are added to its report, and keep their older passages.
    :param files: The files.
    """
    for batch in _batches(job, files):
        _write(job, batch)
        job.advance(len(batch))


def _batches(job: IndexingJob, files: Iterable[SourceFile]) -> Iterator[list[LoadedFile]]:
    batch: list[LoadedFile] = []
    size, most = 0, 1  # batches grow, so that there is progress to report after the first seconds
    for file in files:
        loaded = _load(job, file)
        if loaded is None:
            job.advance(1)
            continue
        batch.append(loaded)
        size += loaded.state.size
        if len(batch) >= most or size >= _BYTES_PER_BATCH:
            yield batch
            batch, size, most = [], 0, min(2 * most, _FILES_PER_BATCH)
    if batch:
        yield batch


def _load(job: IndexingJob, file: SourceFile) -> LoadedFile | None:
    try:
        content = file.read(job.pipeline.salt)
    except InputFileError as error:
        job.report.failed.append(str(error))
        return None
    if job.known.is_whole(file.source, content.fingerprint):  # changed back since it was listed
        job.report.unchanged += 1
        return None
    if content.assumed_encoding:
        job.report.assumed_encodings.setdefault(content.assumed_encoding, []).append(file.source)
    state = IndexedFile(file.source, content.fingerprint, content.size)
    # The converter replaces the title by that of the file's own structure, if it has one.
    meta = {**source_meta(state), "title": stem(file.path)}
    return LoadedFile(state, ByteStream(data=_repaired(job, file, content.data), mime_type=file.type.mime_type, meta=meta))


def _write(job: IndexingJob, batch: Sequence[LoadedFile]) -> None:
    job.indexed_files.begin([file.state for file in batch])
    try:
        written = job.pipeline.write_files([file.stream for file in batch])
        is_attributable = written.is_exact or len(batch) == 1
    except InputFileError as error:
        if len(batch) == 1:
            _report_failed(job, batch, str(error))
            return
        is_attributable = False
    if not is_attributable:  # one file at a time, to find out which one failed or how many passages each has
        for file in batch:
            _write(job, [file])
        return
    job.report.passages += len(written.passages)
    counts = {file.source: written.of(file.source) if written.is_exact else written.written for file in batch}
    _report_failed(
        job,
        [file for file in batch if not counts[file.source]],
        "has no readable text: check the file, or leave it out",
    )
    job.finish({source: count for source, count in counts.items() if count}, merge=True)


def _report_failed(job: IndexingJob, files: Sequence[LoadedFile], reason: str) -> None:
    """Report files that could not be indexed, and restore their records: their older passages stay."""
    job.report.failed += [reason if reason.startswith(file.source) else f"{file.source} {reason}" for file in files]
    before = {file.source: job.known.files.get(file.source) for file in files}
    job.indexed_files.put([state for state in before.values() if state is not None])
    job.indexed_files.forget([source for source, state in before.items() if state is None], passages=False)


def _repaired(job: IndexingJob, file: SourceFile, data: bytes) -> bytes:
    if job.repair is None or not file.type.is_text:
        return data
    text = data.decode("utf-8")
    repaired = job.repair(text)
    job.report.repaired += repaired != text
    return data if repaired == text else repaired.encode("utf-8")
