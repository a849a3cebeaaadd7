"""
Keyword search with tantivy: BM25 (k1 1.2, b 0.75) over stems, incremental, on disk or in memory.

On disk there is `state.json`, which names the folder with the present index and says up to which change of the database
it is complete. The folder is filled first and the state is replaced afterwards: after a crash in between, the same
changes are replayed once more, which changes nothing.
"""

import atexit
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tantivy
from haystack import logging

from rerank_plugin.errors import IndexFormatError, StoreError
from rerank_plugin.store.derived import DamagedIndexError, Hit, Rows
from rerank_plugin.store.keywords.analysis import VERSION, make_analyzer
from rerank_plugin.store.keywords.frequent import FEWEST_DOCUMENTS, FrequentTerms, rounded_length
from rerank_plugin.store.keywords.query import KeywordQuery
from rerank_plugin.store.keywords.tantivy_search import LENGTH, ROW, TEXT, TantivySearch, column_name, rows_query
from rerank_plugin.store.keywords.types import KeywordSettings
from rerank_plugin.store.sqlite.connection import is_writable
from rerank_plugin.store.sqlite.database import Database

logger = logging.getLogger(__name__)

FORMAT = 2
STATE = "state.json"

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
        self._folder = folder
        self._analysis = {
            "language": settings.language,
            "stop_words": settings.stop_words,
            "search_fields": dict(settings.search_fields.weights),
            "version": VERSION,
        }
        self.analyze = make_analyzer(settings.language, stop_words=settings.stop_words)
        self._forget()

    def _forget(self) -> None:
        self._counter = 0
        self._place = ""
        self._frequent = FrequentTerms()
        self._schema = _make_schema(0)
        self._index: tantivy.Index | None = None
        self._search: TantivySearch | None = None

    def reset(self) -> None:
        """Forget everything, on disk too; the next `sync` starts from nothing."""
        self._forget()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def sync(self, database: Database) -> None:
        """
        Replay what was written since the last call, by this process or by another.

        :param database: The truth.
        :raises IndexFormatError: If a newer version wrote the files.
        :raises DamagedIndexError: If the files cannot be written.
        """
        if database.counter in (0, self._counter):
            return
        # Without a lock, another process may be at work on the files: what looks damaged is looked at again below.
        with suppress(DamagedIndexError), database.snapshot():
            if self._load(database):
                return
        # One process at a time brings the files up to date. The lock on the database serves for it, because it is free
        # again when a process is killed.
        with database.transaction():
            try:
                if self._load(database):
                    return
            except DamagedIndexError as error:
                self._start_again(error)
            since = database.replayable(self._counter)
            try:
                self._replay(database, since)
            except DamagedIndexError as error:
                if since == 0:
                    raise
                self._start_again(error)
                self._replay(database, 0)

    def search(self, query: KeywordQuery, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows that hold a word of the query.

        :param query: The query.
        :param limit: How many; fewer come back only if no more match.
        :param allowed: The rows that may be returned; None for all.
        :returns: Hits, best first.
        :raises DamagedIndexError: If tantivy cannot read its files.
        """
        terms = query.analyzed(self.analyze)
        if not terms.scored or self._search is None:
            return []
        with self._damage():
            return self._search.best(terms, limit, allowed)

    def _load(self, database: Database) -> bool:
        """
        Open what is on disk and return whether it is complete; `_counter` then says how far it goes.

        :raises DamagedIndexError: If it cannot be opened, or holds another number of documents than it should.
        """
        if self._folder is None:
            return False
        self._counter = 0
        state = self._read_state(database)
        if state is None:
            return False
        with self._damage():
            if state["place"] != self._place:
                self._open(state["place"], FrequentTerms(state["columns"], state["chosen_at"]))
            self._reload()
        is_complete = bool(state["counter"] == database.counter)
        if is_complete:
            self._check_size(database)
        self._counter = state["counter"]
        return is_complete

    def _read_state(self, database: Database) -> dict[str, Any] | None:
        """Return what `_write_state` wrote, None if there is nothing to go on from."""
        assert self._folder is not None
        path = self._folder / STATE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            found, counter = int(state["format"]), int(state["counter"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedIndexError(f"{path} cannot be read: {error}") from error
        if found > FORMAT:
            raise IndexFormatError(f"{path} has format {found}, this version reads up to {FORMAT}: upgrade rerank-plugin")
        same = (
            found == FORMAT
            and state.get("index_id") == database.setting("index_id")
            and state.get("analysis") == self._analysis
        )
        usable = same and database.replayable(counter) > 0
        return state if usable else None

    def _check_size(self, database: Database) -> None:
        found, expected = self._search.count if self._search else 0, database.count(searchable=True)
        if found != expected:
            raise DamagedIndexError(f"{self._where} holds {found} documents instead of {expected}")

    @property
    def _where(self) -> str:
        return str(self._folder or "the keyword index in memory")

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Turn what tantivy raises about its files into one error; a full disk is no damage."""
        try:
            yield
        except BaseException as error:
            # A broken file can make tantivy panic, and a panic does not derive from Exception.
            if not isinstance(error, (ValueError, OSError)) and type(error).__name__ != "PanicException":
                raise
            message = f"the keyword index cannot be read or written: {error}"
            if self._folder is not None and shutil.disk_usage(self._folder.parent).free < _LEAST_ROOM:
                raise StoreError(f"{message}: make room on the disk; the documents are safe") from error
            raise DamagedIndexError(message) from error

    def _start_again(self, error: DamagedIndexError) -> None:
        logger.warning("The keyword index is damaged and will be built again: {error}", error=error)
        self.reset()

    def _replay(self, database: Database, since: int) -> None:
        """Write the changes after `since` into the index; from nothing if that is 0."""
        counter, count = database.counter, database.count(searchable=True)
        if self._frequent.outgrown(count):
            since = 0
        with self._damage():
            if since == 0:
                self._open(uuid.uuid4().hex[:8], self._choose_frequent(database, count))
            assert self._index is not None
            # From nothing: room for all in one segment, which is searched faster than several.
            heap = min(_MOST_HEAP_BYTES, max(_HEAP_BYTES, count * _BYTES_A_DOCUMENT)) if since == 0 else _HEAP_BYTES
            writer = self._index.writer(heap, 1)
            # What a killed process left behind would stand in the way: file names come from counters that begin again.
            writer.garbage_collect_files()
            changed = database.changed_rows(since) if since else []
            for start in range(0, len(changed), _CHUNK):
                writer.delete_documents_by_query(rows_query(self._schema, changed[start : start + _CHUNK]))
            for document in self._documents(database, since):
                writer.add_document(document)
            writer.commit()
            writer.wait_merging_threads()
            self._reload()
            self._check_size(database)
            self._counter = counter
            self._write_state(database)

    def _documents(self, database: Database, since: int) -> Iterator[tantivy.Document]:
        names = [column_name(column) for column in range(len(self._frequent.columns))]
        for row, text in database.texts(since):
            terms = self.analyze(text)
            document = tantivy.Document()
            document.add_unsigned(ROW, row)
            document.add_text(TEXT, " ".join(terms))
            document.add_unsigned(LENGTH, rounded_length(len(terms)))
            for column, frequency in self._frequent.frequencies(terms).items():
                document.add_unsigned(names[column], frequency)
            yield document

    def _choose_frequent(self, database: Database, count: int) -> FrequentTerms:
        if count < FEWEST_DOCUMENTS:
            return FrequentTerms()
        return FrequentTerms.choose(map(self.analyze, database.sample_texts(_SAMPLE)), count)

    def _open(self, place: str, frequent: FrequentTerms) -> None:
        path = None
        if self._folder is not None:
            if not (self._folder / place).is_dir():
                (self._folder / place).mkdir(parents=True)
            path = str(_to_read(self._folder / place))
        self._frequent = frequent
        self._schema = _make_schema(len(frequent.columns))
        self._index = tantivy.Index(self._schema, path=path)
        self._place = place

    def _reload(self) -> None:
        assert self._index is not None
        self._index.reload()
        self._search = TantivySearch(self._schema, self._index.searcher(), self._frequent)

    def _write_state(self, database: Database) -> None:
        if self._folder is None:
            return
        state = {
            "format": FORMAT,
            "index_id": database.setting("index_id"),
            "analysis": self._analysis,
            "counter": self._counter,
            "place": self._place,
            "columns": self._frequent.columns,
            "chosen_at": self._frequent.chosen_at,
        }
        temporary = self._folder / "state.tmp"
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(self._folder / STATE)
        for old in self._folder.iterdir():
            if old.is_dir() and old.name != self._place:
                # Another process may still have it open; where that forbids deleting, the next run does it.
                shutil.rmtree(old, ignore_errors=True)


def _to_read(folder: Path) -> Path:
    """Return a folder with the files of an index that tantivy can open: it makes a file there, even for reading."""
    if is_writable(folder):
        return folder
    links = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    for file in folder.iterdir():
        if file.suffix == ".lock":
            continue
        (links / file.name).symlink_to(file.resolve())
    return links


def _make_schema(columns: int) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field(ROW, indexed=True, fast=True)
    builder.add_text_field(TEXT, tokenizer_name=_TOKENIZER, index_option="position")
    builder.add_unsigned_field(LENGTH, fast=True)
    for column in range(columns):
        builder.add_unsigned_field(column_name(column), fast=True)
    return builder.build()
