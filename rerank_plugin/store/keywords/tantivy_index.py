"""
Keyword search with tantivy: BM25 (k1 1.2, b 0.75) over stems, incremental, on disk or in memory.

On disk the state names the generation with the present index and says up to which change of the database it is complete.
tantivy commits first and the state is replaced afterwards: after a crash in between, the same changes are replayed once
more, which changes nothing.
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
from rerank_plugin.store.derived import DamagedIndexError, Hit, Rows
from rerank_plugin.store.derived_files import DerivedFiles
from rerank_plugin.store.failures import environment_failure
from rerank_plugin.store.keywords import tantivy_files
from rerank_plugin.store.keywords.analysis import VERSION, make_analyzer
from rerank_plugin.store.keywords.frequent import FEWEST_DOCUMENTS, FrequentTerms, rounded_length
from rerank_plugin.store.keywords.query import KeywordQuery
from rerank_plugin.store.keywords.tantivy_search import LENGTH, ROW, TEXT, TantivySearch, column_name, rows_query
from rerank_plugin.store.keywords.types import KeywordSettings
from rerank_plugin.store.sqlite.database import Database

logger = logging.getLogger(__name__)

FORMAT = 3

# Memory for new documents before they are written as a segment.
_HEAP_BYTES = 64_000_000
_MOST_HEAP_BYTES = 1_000_000_000
_BYTES_A_DOCUMENT = 1_000
# With less room on the disk, it is full: tantivy does not always say so.
_LEAST_ROOM = 1_000_000
# Documents that frequent words are looked for in.
_SAMPLE = 5_000
_TOKENIZER = "whitespace"  # the terms are made in `analysis`; tantivy only has to take them apart
_CHUNK = 10_000


class TantivyIndex:
    """The texts of the database in a tantivy index, which holds no text and no more than the row of each document."""

    persistent = True

    def __init__(self, settings: KeywordSettings, folder: Path | None) -> None:
        """
        Prepare an index; nothing is read or built before the first `sync`.

        :param settings: What it is built and asked with.
        :param folder: Folder for the files; None for an index in memory.
        """
        self._files = None if folder is None else DerivedFiles(folder, "the keyword index", FORMAT)
        self._analysis = {
            "language": settings.language,
            "stop_words": settings.stop_words,
            "search_fields": dict(settings.search_fields.weights),
            "version": VERSION,
        }
        self.analyze = make_analyzer(settings.language, stop_words=settings.stop_words)
        # A generation that failed in a search although its files are as they were written.
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
        """Forget everything; the next `sync` builds a new generation and deletes this one."""
        self._distrusted = self._generation
        if self._files is not None:
            self._files.distrust()
        self._forget()

    def sync(self, database: Database) -> None:
        """
        Replay what was written since the last call, by this process or by another.

        :param database: The source of truth.
        :raises IndexFormatError: If a newer version wrote the files.
        :raises StoreError: If the files cannot be read or written, or the folder holds something that is not ours.
        """
        if database.changes.counter in (0, self._counter):
            return
        if self._files is None or not self._files.can_be_written:
            self._sync_in_memory(database)
            return
        # Without a lock, another process may be at work on the files: what looks damaged is looked at again below.
        with suppress(DamagedIndexError), database.snapshot():
            if self._load(database, self._files):
                return
        present = self._files.named()
        if self._catch_up(database, self._files):
            return
        with self._files.building():
            # While this process waited for the lock, another one may have built it.
            if self._files.named() == present or not self._catch_up(database, self._files):
                self._build(database, self._files)

    def _sync_in_memory(self, database: Database) -> None:
        """Go on in memory: because the index is there, or because its folder cannot be written."""
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
        Replay into the present generation; one process at a time, by the lock on the database, which dies with its process.

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
        Build a new generation from a snapshot, while others write, and replay what they wrote meanwhile.

        Belongs into `building`. Writers wait only for the last of these steps.
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
                # Otherwise every document was deleted meanwhile, or the record of deleted ones: begin again.
                if database.changes.replayable(self._counter):
                    self._replay(database, self._counter)
                    self._publish(database, files)
                    files.remove_others(self._generation)
                    return

    def search(self, query: KeywordQuery, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows that hold a word of the query.

        :param query: The query.
        :param limit: How many; fewer come back only if no more match.
        :param allowed: The rows that may be returned; None for all.
        :returns: Hits, best first.
        :raises DamagedIndexError: If tantivy fails on its files.
        :raises StoreError: If it cannot read them at the moment.
        """
        terms = query.analyzed(self.analyze)
        if not terms.scored or self._search is None:
            return []
        with self._explained("read"):
            return self._search.best(terms, limit, allowed)

    def _load(self, database: Database, files: DerivedFiles) -> bool:
        """
        Open the generation on disk and return whether it is complete; `_counter` then says how far it goes.

        :raises DamagedIndexError: If it is not as it was written, or holds another number of documents than it should.
        :raises StoreError: If it cannot be read at the moment.
        """
        self._counter = 0
        state = files.usable_state(database)
        if state is None or state["analysis"] != self._analysis or state["generation"] == self._distrusted:
            return False
        counter, folder = int(state["counter"]), files.folder / state["generation"]
        is_published = tantivy_files.check(files, folder, tantivy_files.Commit(*state["commit"]))
        if not is_published and counter == database.changes.counter:
            raise DamagedIndexError(f"{folder} is ahead of its state, although nothing was written since")
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
        """Tell what tantivy raises about its files from what the machine refuses: only the first is damage."""
        try:
            yield
        except BaseException as error:
            # A broken file can make tantivy panic, and a panic does not derive from Exception.
            if not isinstance(error, (ValueError, OSError)) and type(error).__name__ != "PanicException":
                raise
            message = f"{self._where} cannot be {verb}: {error}"
            remedy = environment_failure(error)
            if self._files is not None and shutil.disk_usage(self._files.folder.parent).free < _LEAST_ROOM:
                remedy = environment_failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            if remedy is not None:
                raise StoreError(f"{message}: {remedy}") from error
            raise DamagedIndexError(message) from error

    def _replay(self, database: Database, since: int) -> None:
        """
        Write the changes after `since` into the open index, all documents if that is 0; belongs into a snapshot.

        :raises DamagedIndexError: If tantivy fails on its files.
        :raises StoreError: If they cannot be written at the moment.
        """
        counter = database.changes.counter
        if since and since == counter:
            return
        assert self._index is not None
        with self._explained("written"):
            # From nothing: room for all in one segment, which is searched faster than several.
            wanted = database.documents.count(searchable=True) * _BYTES_A_DOCUMENT if since == 0 else 0
            writer = self._index.writer(min(_MOST_HEAP_BYTES, max(_HEAP_BYTES, wanted)), 1)
            try:
                # What a killed process left behind would stand in the way: file names come from counters that begin again.
                writer.garbage_collect_files()
                changed = database.changes.rows_since(since) if since else []
                for start in range(0, len(changed), _CHUNK):
                    writer.delete_documents_by_query(rows_query(self._schema, changed[start : start + _CHUNK]))
                for document in self._documents(database, since):
                    writer.add_document(document)
                writer.commit()
                writer.wait_merging_threads()
            finally:
                del writer  # it holds tantivy's lock, and a traceback would hold it
            self._reload()
            self._check_size(database)
            self._counter = counter

    def _documents(self, database: Database, since: int) -> Iterator[tantivy.Document]:
        names = [column_name(column) for column in range(len(self._frequent.columns))]
        for row, text in database.documents.texts(since):
            terms = self.analyze(text)
            document = tantivy.Document()
            document.add_unsigned(ROW, row)
            document.add_text(TEXT, " ".join(terms))
            document.add_unsigned(LENGTH, rounded_length(len(terms)))
            for column, frequency in self._frequent.frequencies(terms).items():
                document.add_unsigned(names[column], frequency)
            yield document

    def _choose_frequent(self, database: Database) -> FrequentTerms:
        count = database.documents.count(searchable=True)
        if count < FEWEST_DOCUMENTS:
            return FrequentTerms()
        return FrequentTerms.choose(map(self.analyze, database.documents.sample_texts(_SAMPLE)), count)

    def _open(self, folder: Path | None, frequent: FrequentTerms) -> None:
        """Open an index that is there or make an empty one, in memory without a folder."""
        path = folder
        if folder is not None and self._files is not None and not self._files.can_be_written:
            path = tantivy_files.linked(folder)
            atexit.register(shutil.rmtree, path, ignore_errors=True)
        self._frequent = frequent
        self._schema = _make_schema(len(frequent.columns))
        self._index = tantivy.Index(self._schema, path=None if path is None else str(path))
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
                "analysis": self._analysis,
                "commit": tantivy_files.read_commit(files.folder / self._generation),
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
