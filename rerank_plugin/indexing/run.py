"""Index files: find what is new, convert, split, embed and store it, and record how far it got."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from haystack import Document
from haystack.dataclasses import ByteStream

from rerank_plugin.collections.beir import BeirDocument, read_documents
from rerank_plugin.errors import InputFileError, PipelineConfigError
from rerank_plugin.indexing.manifest import FILE_NAME as MANIFEST_FILE
from rerank_plugin.indexing.manifest import FileState, Manifest
from rerank_plugin.indexing.sources import BEIR_TYPE, SourceFile, find_sources
from rerank_plugin.indexing.text_repair import TextRepair
from rerank_plugin.pipelines import component_names, find_pipeline, load_pipeline

if TYPE_CHECKING:
    from haystack import Pipeline

    from rerank_plugin.store import HybridDocumentStore

# How much is lost at most when a run is killed: work is recorded after each batch.
PASSAGES_PER_BATCH = 256
FILES_PER_BATCH = 16

NEEDED_COMPONENTS = ("router", "passages", "writer")

Progress = Callable[[int, int], None]


@dataclass
class IndexReport:
    """
    What a run did.

    :param files: Files that were indexed, or indexed to their end after an interruption.
    :param unchanged: Files that were left alone.
    :param pruned: Files whose passages were dropped, as they are gone.
    :param passages: Passages written.
    :param repaired: Texts (files; of a corpus titles and passages) whose encoding was repaired.
    :param failed: For each file that could not be indexed, why.
    """

    files: int = 0
    unchanged: int = 0
    pruned: int = 0
    passages: int = 0
    repaired: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Work:
    """A file that has to be indexed, its fingerprint, and what is already there of it."""

    file: SourceFile
    fingerprint: str
    before: FileState | None

    @property
    def done(self) -> int:
        """Passages that an interrupted run has written of the very same content."""
        return self.before.written if self.before and self.before.fingerprint == self.fingerprint else 0


def index_paths(
    paths: Iterable[Path],
    index: Path,
    *,
    pipeline: str | Path = "indexing",
    language: str | None = None,
    embedding_model: str | None = None,
    prune: bool = False,
    repair: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """
    Index files and folders.

    Files that were indexed before and have not changed are skipped; of changed ones the passages are replaced. An
    interrupted run is taken up where it broke off. A file that cannot be read is reported, and the others are indexed.

    :param paths: Files and folders; see `find_sources`.
    :param index: Folder of the index; made where it is missing.
    :param pipeline: Name or path of the indexing pipeline.
    :param language: Language of the keyword index; `None` means as the index says, else English.
    :param embedding_model: Replaces the embedding model of the pipeline.
    :param prune: Drop the passages of files that were indexed from under `paths` and are no longer there.
    :param repair: Repair mojibake (`â€¦` for an ellipsis) in texts; PDF files are left as they are.
    :param progress: Called with units done and units in all; a unit is a passage of a corpus, or another file.
    :returns: What was done.
    :raises InputFileError: If one of `paths` does not exist.
    :raises PipelineConfigError: If the pipeline cannot be loaded or lacks a component that indexing needs.
    :raises StoreError: If the index cannot be written, or has another language.
    :raises MissingDependencyError: If texts shall be repaired, and ftfy is not installed.
    """
    roots = [path.expanduser() for path in paths]
    # Only what exists, or was indexed and is gone: a path that was never there is a slip of the hand, with `prune` too.
    gone = [root for root in roots if prune and not root.exists() and _was_indexed(root, index)]
    files = find_sources([root for root in roots if root not in gone])
    loaded = load_pipeline(pipeline, index=index, embedding_model=embedding_model, language=language)
    _check_components(loaded, find_pipeline(pipeline))
    run = _IndexRun(loaded, Manifest(index), progress, TextRepair() if repair else None)
    run.plan(files, settings=_settings(pipeline, embedding_model, repair=repair))
    run.work()
    if prune:
        run.prune([root.resolve() for root in roots], files)
    run.close()
    return run.report


def is_up_to_date(
    paths: Iterable[Path], index: Path, *, pipeline: str | Path = "indexing", embedding_model: str | None = None
) -> bool:
    """
    Tell whether `index_paths` would find nothing to do, without loading a model.

    :param paths: See `index_paths`.
    :param index: See `index_paths`.
    :param pipeline: See `index_paths`.
    :param embedding_model: See `index_paths`.
    :raises InputFileError: If one of `paths` does not exist.
    """
    if not (index / MANIFEST_FILE).is_file():
        return False
    manifest, settings = Manifest(index), _settings(pipeline, embedding_model)
    states = [(manifest.get(str(file.path)), file.digest(settings)) for file in find_sources(list(paths))]
    return all(state is not None and state.is_whole(digest) for state, digest in states)


class _IndexRun:
    """One run of `index_paths`: the plan, and how far it is."""

    def __init__(
        self, pipeline: "Pipeline", manifest: Manifest, progress: Progress | None, repair: TextRepair | None
    ) -> None:
        self.report = IndexReport()
        self._pipeline = pipeline
        self._store: HybridDocumentStore = cast("Any", pipeline.get_component("writer")).document_store
        self._manifest = manifest
        self._progress = progress
        self._repair = repair
        self._plan: list[_Work] = []
        self._done = 0
        self._total = 0

    def plan(self, files: Sequence[SourceFile], *, settings: str) -> None:
        """Find out what has to be done. A corpus is read to its end: a malformed line shows before anything is written."""
        for file in files:
            try:
                fingerprint = file.digest(settings)
                before = self._manifest.get(str(file.path))
                if before and before.is_whole(fingerprint):
                    self.report.unchanged += 1
                    continue
                units = sum(1 for _ in read_documents(file.path)) if file.mime_type == BEIR_TYPE else 1
                self._plan.append(_Work(file, fingerprint, before))
                self._total += units
            except InputFileError as error:
                self.report.failed.append(str(error))

    def work(self) -> None:
        """Index what was planned."""
        if not self._plan:
            return
        self._advance(0)
        self._pipeline.warm_up()
        for work in self._plan:
            if work.file.mime_type == BEIR_TYPE:
                self._index_corpus(work)
        single = (work for work in self._plan if work.file.mime_type != BEIR_TYPE)
        while batch := list(islice(single, FILES_PER_BATCH)):
            self._index_files(batch)

    def prune(self, roots: Sequence[Path], files: Sequence[SourceFile]) -> None:
        """Drop what was indexed from under the roots and is no longer there."""
        there = {str(file.path) for file in files}
        for source in self._manifest.sources():
            if source not in there and any(Path(source).is_relative_to(root) for root in roots):
                self._store.delete_by_filter(_source_is(source))
                self._manifest.remove(source)
                self.report.pruned += 1

    def close(self) -> None:
        """Complete the keyword index on disk, so that the first search need not."""
        self._store.close()

    def _index_corpus(self, work: _Work) -> None:
        self._begin(work, written=work.done)
        documents = (_document(self._repaired(document), work) for document in read_documents(work.file.path))
        remaining = islice(documents, work.done, None)
        written = work.done
        self._advance(work.done)
        while batch := list(islice(remaining, PASSAGES_PER_BATCH)):
            self._run({"router": {"sources": []}, "passages": {"documents": batch}})
            written += len(batch)
            self._manifest.put(FileState(str(work.file.path), work.fingerprint, written, complete=False))
            self._advance(len(batch))
        self._finish(work, written)

    def _index_files(self, batch: Sequence[_Work]) -> None:
        sources = []
        for work in batch:
            try:
                data = work.file.read()
            except InputFileError as error:
                self.report.failed.append(str(error))
                continue
            data = self._repaired_file(work.file, data)
            self._begin(work, written=0)
            meta = _source_meta(work) | {"title": work.file.title(data)}
            sources.append(ByteStream(data=data, mime_type=work.file.mime_type, meta=meta))
        passages = self._run({"router": {"sources": sources}}) if sources else []
        counts: dict[str, int] = {}
        for passage in passages:
            counts[passage.meta["source"]] = counts.get(passage.meta["source"], 0) + 1
        readable = {stream.meta["source"] for stream in sources}
        for work in batch:
            source = str(work.file.path)
            if source in readable and source not in counts:
                self.report.failed.append(f"{source} holds no text that could be read: check the file, or leave it out")
                self._put_back(work)
            elif source in readable:
                self._finish(work, counts[source])
        self._advance(len(batch))

    def _repaired(self, document: BeirDocument) -> BeirDocument:
        if self._repair is None:
            return document
        before = self._repair.changed
        repaired = replace(document, title=self._repair(document.title), text=self._repair(document.text))
        self.report.repaired += self._repair.changed - before
        return repaired

    def _repaired_file(self, file: SourceFile, data: bytes) -> bytes:
        if self._repair is None or not file.mime_type.startswith("text/"):
            return data
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:  # HTML that declares another encoding
            return data
        repaired = self._repair(text)
        self.report.repaired += repaired != text
        return data if repaired == text else repaired.encode("utf-8")

    def _run(self, data: dict[str, Any]) -> list[Document]:
        """Run the pipeline and return the passages that went into the store."""
        result = self._pipeline.run(data, include_outputs_from={"passages"})
        passages: list[Document] = result.get("passages", {}).get("documents", [])
        self.report.passages += len(passages)
        return passages

    def _begin(self, work: _Work, *, written: int) -> None:
        # Recorded before the first passage is written: should this run be killed and the file change before the next
        # one, the next one knows that there may be passages to replace.
        self._manifest.put(FileState(str(work.file.path), work.fingerprint, written, complete=False))

    def _put_back(self, work: _Work) -> None:
        """Leave a file that could not be indexed as it was: its older passages stay, and are known."""
        if work.before is not None:
            self._manifest.put(work.before)
        else:
            self._manifest.remove(str(work.file.path))

    def _finish(self, work: _Work, written: int) -> None:
        source = str(work.file.path)
        if work.before is not None:
            older = {"field": "meta.source_fingerprint", "operator": "!=", "value": work.fingerprint}
            self._store.delete_by_filter({"operator": "AND", "conditions": [_source_is(source), older]})
        self._manifest.put(FileState(source, work.fingerprint, written, complete=True))
        self.report.files += 1

    def _advance(self, units: int) -> None:
        self._done += units
        if self._progress:
            self._progress(self._done, self._total)


def _was_indexed(root: Path, index: Path) -> bool:
    if not (index / MANIFEST_FILE).is_file():
        return False
    return any(Path(source).is_relative_to(root.resolve()) for source in Manifest(index).sources())


def _check_components(pipeline: "Pipeline", path: Path) -> None:
    missing = [name for name in NEEDED_COMPONENTS if name not in component_names(pipeline)]
    if missing:
        raise PipelineConfigError(
            f"{path} cannot index: it has no component named {' or '.join(missing)}; start from pipelines/indexing.yaml"
        )


def _settings(pipeline: str | Path, embedding_model: str | None, *, repair: bool = False) -> str:
    """Say how files are going to be indexed: another way means that they have to be indexed again."""
    text = find_pipeline(pipeline).read_text(encoding="utf-8")
    how = f"{embedding_model}\0{text}" + ("\0repaired" if repair else "")
    return hashlib.sha256(how.encode()).hexdigest()


def _document(document: BeirDocument, work: _Work) -> Document:
    identity = f"{work.file.path}\0{document.id}"
    meta = {**document.metadata, "title": document.title, "doc_id": document.id, **_source_meta(work)}
    return Document(id=hashlib.sha256(identity.encode()).hexdigest(), content=document.text, meta=meta)


def _source_meta(work: _Work) -> dict[str, Any]:
    return {"source": str(work.file.path), "source_fingerprint": work.fingerprint}


def _source_is(source: str) -> dict[str, Any]:
    return {"field": "meta.source", "operator": "==", "value": source}
