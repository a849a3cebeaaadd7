"""
Keyword search with tantivy: BM25 (k1 1.2, b 0.75) over stems, incremental, on disk or in memory.

On disk, the state names the current generation and the change of the database up to which it is complete. tantivy commits
first and the state is replaced afterwards: after a crash in between, the same changes are replayed, which is idempotent.
"""

import atexit
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import tantivy

from rerank_plugin.errors import StoreError
from rerank_plugin.progress import reporting
from rerank_plugin.store.derived import DamagedIndexError, Hit, Rows
from rerank_plugin.store.derived_files import DerivedFiles
from rerank_plugin.store.failures import environment_failure
from rerank_plugin.store.keywords import tantivy_files
from rerank_plugin.store.keywords.analysis import VERSION, make_analysis
from rerank_plugin.store.keywords.frequent import MIN_DOCUMENTS, FrequentTerms, rounded_length
from rerank_plugin.store.keywords.query import KeywordQuery
from rerank_plugin.store.keywords.tantivy_search import LENGTH, ROW, TEXT, TantivySearch, column_name, rows_query
from rerank_plugin.store.keywords.types import KeywordSettings
from rerank_plugin.store.sqlite.database import Database

logger = logging.getLogger(__name__)

FORMAT = 4

# Memory for new documents before they are written as a segment.
_HEAP_BYTES = 64_000_000
_MAX_HEAP_BYTES = 1_000_000_000
_BYTES_PER_DOCUMENT = 1_000
# With less free space the disk counts as full: tantivy's errors do not always say so.
_MIN_FREE_BYTES = 1_000_000
# Size of the sample from which frequent terms are chosen.
_SAMPLE = 5_000
_TOKENIZER = "whitespace"  # the terms are produced in `analysis` and passed to tantivy separated by spaces
_CHUNK = 10_000


class TantivyIndex:
    """A tantivy index of the texts in the database; it stores no text, only the row of each document."""

    persistent = True

    def __init__(self, settings: KeywordSettings, folder: Path | None) -> None:
        """
        Nothing is read or built before the first `sync`.

        :param settings: Analysis and BM25 parameters.
        :param folder: Folder for the files; None for an index in memory.
        """
        self._files = None if folder is None else DerivedFiles(folder, "the keyword index", FORMAT)
        self._described = {
            "language": settings.language,
            "stop_words": settings.stop_words,
            "search_fields": dict(settings.search_fields.weights),
            "version": VERSION,
        }
        self.analysis = make_analysis(settings.language, stop_words=settings.stop_words)
        # A generation that failed in a search although its checksums are correct.
        self._distrusted: str | None = None
        self._forget()

    def _forget(self) -> None:
        self._counter = 0
        self._generation: str | None = None  # None: in memory
        self._frequent = FrequentTerms()
        self._schema = _make_schema(0)
        self._index: tantivy.Index | None = None
        self._search: TantivySearch | None = None

    def reset(self) -> None:
        """Discard the index; the next `sync` builds a new generation and deletes this one."""
        self._distrusted = self._generation
        if self._files is not None:
            self._files.distrust()
        self._forget()

    def sync(self, database: Database) -> None:
        """
        Replay the changes made since the last call, by this or another process.

        :param database: The source-of-truth database.
        :raises IndexFormatError: If a newer version wrote the files.
        :raises StoreError: If the files cannot be read or written, or the folder holds files of other origin.
        """
        if database.changes.counter in (0, self._counter):
            return
        if self._files is None or not self._files.can_be_written:
            self._sync_in_memory(database)
            return
        # Without a lock, another process may be writing the files: apparent damage is checked again below.
        with suppress(DamagedIndexError), database.snapshot():
            if self._load(database, self._files):
                return
        generation = self._files.named()
        if self._catch_up(database, self._files):
            return
        with self._files.building():
            # While this process waited for the lock, another one may have built a new generation.
            if self._files.named() == generation or not self._catch_up(database, self._files):
                self._build(database, self._files)

    def _sync_in_memory(self, database: Database) -> None:
        """Bring an index in memory up to date; it is in memory by choice, or because its folder is read-only."""
        with database.snapshot():
            if self._files is not None and (self._index is None or self._generation is not None):
                try:
                    if self._load(database, self._files):
                        return
                except DamagedIndexError as error:
                    logger.warning("The keyword index is damaged, and built again in memory: %s", error)
                self._forget()
            since = database.changes.replayable(self._counter)
            if since == 0 or self._frequent.outgrown(database.documents.count(searchable=True)):
                since = 0
                self._open(None, self._choose_frequent(database))
            self._replay(database, since)

    def _catch_up(self, database: Database, files: DerivedFiles) -> bool:
        """
        Replay into the current generation. The write lock on the database lets one process at a time do this.

        :returns: Whether the index is complete; False if a new generation has to be built.
        """
        with database.transaction():
            try:
                if self._load(database, files):
                    return True
                since = database.changes.replayable(self._counter)
                if since == 0 or self._frequent.outgrown(database.documents.count(searchable=True)):
                    return False
                self._replay(database, since)
            except DamagedIndexError as error:
                logger.warning("The keyword index is damaged and will be built again: %s", error)
                self._forget()
                return False
            self._publish(database, files)
            return True

    def _build(self, database: Database, files: DerivedFiles) -> None:
        """
        Build a new generation from a snapshot while other processes write, then replay their changes.

        Call inside `building`. Writers wait only during the last step.
        """
        while True:
            with database.snapshot():
                folder = files.new_generation(database)
                try:
                    self._open(folder, self._choose_frequent(database))
                    self._replay(database, 0)
                except BaseException:
                    self._forget()
                    files.remove_others(files.named())
                    raise
            with database.snapshot():
                if database.changes.replayable(self._counter):
                    self._replay(database, self._counter)
            with database.transaction():
                # Otherwise all documents, or the tombstones, were deleted meanwhile: start over.
                if database.changes.replayable(self._counter):
                    self._replay(database, self._counter)
                    self._publish(database, files)
                    files.remove_others(self._generation)
                    return

    def search(self, query: KeywordQuery, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows that contain a word of the query.

        :param query: The query.
        :param limit: Maximum number of hits; fewer are returned only if no more rows match.
        :param allowed: The rows that may be returned; None for all.
        :returns: Hits, best first.
        :raises DamagedIndexError: If tantivy fails on its files.
        :raises StoreError: If it cannot currently read them.
        """
        terms = query.analyzed(self.analysis)
        if not terms.scored or self._search is None:
            return []
        with self._explained("read"):
            return self._search.best(terms, limit, allowed)

    def _load(self, database: Database, files: DerivedFiles) -> bool:
        """
        Open the generation on disk and return whether it is complete; `_counter` is then the change it is complete up to.

        :raises DamagedIndexError: If a checksum or the number of documents is wrong.
        :raises StoreError: If it cannot currently be read.
        """
        self._counter = 0
        state = files.usable_state(database)
        if state is None or state["analysis"] != self._described or state["generation"] == self._distrusted:
            return False
        counter, folder = int(state["counter"]), files.folder / state["generation"]
        is_published = tantivy_files.check(files, folder, tantivy_files.Commit(*state["commit"]))
        if not is_published and counter == database.changes.counter:
            raise DamagedIndexError(f"{folder} is ahead of its state, although nothing has been written since")
        with self._explained("read"):
            if state["generation"] != self._generation:
                self._open(folder, FrequentTerms(state["columns"], state["chosen_at"]))
            self._reload()
        is_complete = counter == database.changes.counter
        if is_complete:
            self._check_size(database)
        self._counter = counter
        return is_complete

    def _check_size(self, database: Database) -> None:
        size, expected = self._search.count if self._search else 0, database.documents.count(searchable=True)
        if size != expected:
            raise DamagedIndexError(f"{self._where} holds {size} documents instead of {expected}")

    @property
    def _where(self) -> str:
        return "the keyword index in memory" if self._files is None else f"the keyword index in {self._files.folder}"

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn errors of tantivy into a StoreError if the environment caused them, else a DamagedIndexError."""
        try:
            yield
        except BaseException as error:
            # A damaged file can make tantivy panic, and PanicException does not derive from Exception.
            if not isinstance(error, (ValueError, OSError)) and type(error).__name__ != "PanicException":
                raise
            message = f"{self._where} cannot be {verb}: {error}"
            remedy = environment_failure(error)
            if self._files is not None and shutil.disk_usage(self._files.folder.parent).free < _MIN_FREE_BYTES:
                remedy = environment_failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            if remedy is not None:
                raise StoreError(f"{message}: {remedy}") from error
            raise DamagedIndexError(message) from error

    def _replay(self, database: Database, since: int) -> None:
        """
        Write the changes after `since` into the open index, or all documents if it is 0. Call inside a snapshot.

        :raises DamagedIndexError: If tantivy fails on its files.
        :raises StoreError: If they cannot currently be written.
        """
        counter = database.changes.counter
        if since and since == counter:
            return
        assert self._index is not None
        with self._explained("written"):
            # A full build gets memory for a single segment, which is searched faster than several.
            needed = database.documents.count(searchable=True) * _BYTES_PER_DOCUMENT if since == 0 else 0
            writer = self._index.writer(min(_MAX_HEAP_BYTES, max(_HEAP_BYTES, needed)), 1)
            try:
                # Remove files left by a killed process: file names come from counters that restart, and would collide.
                writer.garbage_collect_files()
                changed = database.changes.rows_since(since) if since else []
                for start in range(0, len(changed), _CHUNK):
                    writer.delete_documents_by_query(rows_query(self._schema, changed[start : start + _CHUNK]))
                for document in self._documents(database, since):
                    writer.add_document(document)
                writer.commit()
                writer.wait_merging_threads()
            finally:
                del writer  # releases tantivy's lock, which a traceback would otherwise keep
            self._reload()
            self._check_size(database)
            self._counter = counter

    def _documents(self, database: Database, since: int) -> Iterator[tantivy.Document]:
        names = [column_name(column) for column in range(len(self._frequent.columns))]
        for row, text in reporting("keyword entries", database.documents.texts(since)):
            terms = self.analysis.text(text)
            document = tantivy.Document()
            document.add_unsigned(ROW, row)
            document.add_text(TEXT, " ".join(terms))
            document.add_unsigned(LENGTH, rounded_length(len(terms)))
            for column, frequency in self._frequent.frequencies(terms).items():
                document.add_unsigned(names[column], frequency)
            yield document

    def _choose_frequent(self, database: Database) -> FrequentTerms:
        count = database.documents.count(searchable=True)
        if count < MIN_DOCUMENTS:
            return FrequentTerms()
        return FrequentTerms.choose(map(self.analysis.text, database.documents.sample_texts(_SAMPLE)), count)

    def _open(self, folder: Path | None, frequent: FrequentTerms) -> None:
        """Open the index in a folder, creating it if there is none; without a folder, create one in memory."""
        path = folder
        if folder is not None and self._files is not None and not self._files.can_be_written:
            path = tantivy_files.linked(folder)
            atexit.register(shutil.rmtree, path, ignore_errors=True)
        self._frequent = frequent
        self._schema = _make_schema(len(frequent.columns))
        self._index = tantivy.Index(self._schema, path=None if path is None else str(path))
        # By default a thread reloads the index when its files change, and creates a lock file in a folder being deleted.
        # The constructor has started it: it may reload once more, and never again.
        self._index.config_reader("manual", 0)
        self._generation = None if folder is None else folder.name

    def _reload(self) -> None:
        assert self._index is not None
        self._index.reload()
        self._search = TantivySearch(self._schema, self._index.searcher(), self._frequent)

    def _publish(self, database: Database, files: DerivedFiles) -> None:
        assert self._generation is not None
        with self._explained("written"):
            tantivy_files.let_others_read(files.folder / self._generation)
            state = {
                "analysis": self._described,
                "commit": tantivy_files.read_commit(files, files.folder / self._generation),
                "columns": self._frequent.columns,
                "chosen_at": self._frequent.chosen_at,
            }
            files.publish(self._generation, database, self._counter, state)


def _make_schema(columns: int) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field(ROW, indexed=True, fast=True)
    builder.add_text_field(TEXT, tokenizer_name=_TOKENIZER, index_option="position")
    builder.add_unsigned_field(LENGTH, fast=True)
    for column in range(columns):
        builder.add_unsigned_field(column_name(column), fast=True)
    return builder.build()
