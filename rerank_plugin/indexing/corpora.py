"""
Indexing a corpus in BEIR format, in two passes over the file. The first pass detects whether it has changed and validates
every line before anything is written; the second writes in batches, and detects if the file has changed in between.
"""

import hashlib
from dataclasses import dataclass, replace
from itertools import islice

from haystack import Document

from rerank_plugin.collections.beir import BeirDocument, read_documents
from rerank_plugin.errors import InputFileError
from rerank_plugin.indexing.content import SourceFile
from rerank_plugin.indexing.job import IndexingJob, source_meta
from rerank_plugin.store.sqlite.indexed_files import IndexedFile

# Progress is recorded after each batch, so a killed run loses at most one batch.
_DOCUMENTS_PER_BATCH = 256
# Batches grow up to that, so that there is progress to report after the first seconds.
_DOCUMENTS_OF_FIRST_BATCH = 16
# How often to index a corpus that another process is changing.
_ATTEMPTS = 3


@dataclass(frozen=True)
class CorpusPlan:
    """
    A corpus to index.

    :param file: The file.
    :param state: Its record, which includes the documents and passages that an interrupted run wrote from the same content.
    :param documents: Number of documents in it.
    """

    file: SourceFile
    state: IndexedFile
    documents: int


def plan_corpus(job: IndexingJob, file: SourceFile) -> CorpusPlan | None:
    """
    Read and validate a whole corpus.

    :param job: The run.
    :param file: The file.
    :returns: The plan for indexing it, `None` if it is unchanged.
    :raises InputFileError: If the file cannot be read or a line is malformed.
    """
    # Hashing alone is many times faster than parsing every line.
    if job.is_unchanged(file):
        return None
    with file.open(job.pipeline.salt) as reader:
        documents = sum(1 for _ in read_documents(file.path, stream=reader))
        fingerprint, size = reader.fingerprint, reader.size
    if job.known.is_whole(file.source, fingerprint):
        return None
    state = job.known.resumable(file.source, fingerprint) or IndexedFile(file.source, fingerprint, size)
    return CorpusPlan(file, state, documents)


def index_corpus(job: IndexingJob, plan: CorpusPlan) -> None:
    """
    Write the passages of a corpus, and delete its older ones.

    :param job: The run; a file that cannot be read is added to its report.
    :param plan: The plan from `plan_corpus`.
    """
    current: CorpusPlan | None = plan
    for _ in range(_ATTEMPTS):
        if current is None or _write(job, current):
            return
        try:
            current = plan_corpus(job, plan.file)
        except InputFileError as error:
            job.report.failed.append(str(error))
            return
        job.expect(current.documents if current else 0)
    job.report.failed.append(f"{plan.file.path} keeps changing while it is read: index it when nobody writes to it")


def _write(job: IndexingJob, plan: CorpusPlan) -> bool:
    """Write a corpus; return whether the file was still the same as when the plan was made."""
    state, salt = plan.state, job.pipeline.salt
    if not state.documents:
        (state,) = job.indexed_files.begin([state])
    job.advance(state.documents)
    try:
        with plan.file.open(salt) as reader:
            documents = read_documents(plan.file.path, stream=reader, unique=False)
            for _ in islice(documents, state.documents):
                pass
            done = 0
            while batch := list(islice(documents, min(max(done, _DOCUMENTS_OF_FIRST_BATCH), _DOCUMENTS_PER_BATCH))):
                done += len(batch)
                written = job.pipeline.write_documents([_passage(job, document, state) for document in batch])
                state = replace(state, documents=state.documents + len(batch), passages=state.passages + written.written)
                job.report.passages += len(written.passages)
                job.indexed_files.put([state])
                job.advance(len(batch))
            is_same = reader.fingerprint == state.fingerprint
    except InputFileError:
        is_same = False
    if is_same:
        # Judgements name the documents of a corpus by their ids: each stays a document of its own.
        job.finish({state.source: state.passages}, merge=False)
    else:
        # The written passages may mix two versions of the file, so they must not be resumed from.
        job.indexed_files.put([replace(state, documents=0, passages=0)])
    return is_same


def _passage(job: IndexingJob, document: BeirDocument, state: IndexedFile) -> Document:
    document = _repaired(job, document)
    identity = f"{state.source}\0{document.id}"
    meta = {**document.metadata, "title": document.title, "doc_id": document.id}
    meta |= source_meta(state)
    return Document(id=hashlib.sha256(identity.encode()).hexdigest(), content=document.text, meta=meta)


def _repaired(job: IndexingJob, document: BeirDocument) -> BeirDocument:
    if job.repair is None:
        return document
    before = job.repair.changed
    repaired = replace(document, title=job.repair(document.title), text=job.repair(document.text))
    job.report.repaired += job.repair.changed - before
    return repaired
