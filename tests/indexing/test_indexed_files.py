"""The records of indexed files are part of the store, and are checked against its passages (L1, L4)."""

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from haystack import Document
from indexing_rounds import contents, kill_and_resume, two_runs_at_once
from test_sources import without_privileges

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import StoreError
from rerank_plugin.indexing import IndexReport, index_paths, is_up_to_date

KEYWORD = "indexing_keyword"


@pytest.fixture
def files(tmp_path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    lines = [json.dumps({"_id": f"d{number}", "text": f"Passage {number}."}) for number in range(600)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "note.txt").write_text("A red fox.")
    return folder


def index(files: Path, **options) -> IndexReport:
    return index_paths([files], files.parent / "index", pipeline=KEYWORD, **options)


@pytest.mark.slow
def test_l4_nothing_beside_the_database_says_what_was_indexed(files, tmp_path):
    index(files)
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        ".indexing.lock",
        "documents.ledger",
        "documents.sqlite",
        "keywords",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["deleted", "emptied"])
def test_l4_a_database_that_is_gone_is_filled_again(files, tmp_path, damage):
    index(files)
    before = contents(tmp_path / "index")
    database = tmp_path / "index" / "documents.sqlite"
    if damage == "deleted":
        database.unlink()
    else:
        database.write_bytes(b"")
    with pytest.raises(StoreError, match=r"documents\.sqlite is damaged"):
        is_up_to_date([files], tmp_path / "index", pipeline=KEYWORD)
    with pytest.raises(StoreError, match="is damaged") as error:
        index(files)
    # Follow the remedy in the message.
    assert "delete this one" in str(error.value) or "delete everything else" in str(error.value)
    for path in (tmp_path / "index").iterdir():
        if damage == "deleted" or path != database:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert index(files).unchanged == 0
    assert contents(tmp_path / "index") == before
    assert index(files).unchanged == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the file", "backup()"])
def test_l4_an_older_backup_is_brought_up_to_date(files, tmp_path, how):
    lines = (files / "corpus.jsonl").read_text()
    (files / "corpus.jsonl").write_text("\n".join(lines.splitlines()[:100]))
    index(files)
    if how == "the file":
        shutil.copy(tmp_path / "index" / "documents.sqlite", tmp_path / "old.sqlite")
    else:
        store = HybridDocumentStore(tmp_path / "index")
        store.backup(tmp_path / "backup")
        store.close()
        shutil.copy(tmp_path / "backup" / "documents.sqlite", tmp_path / "old.sqlite")
    (files / "corpus.jsonl").write_text(lines)
    index(files)
    after = contents(tmp_path / "index")
    shutil.copy(tmp_path / "old.sqlite", tmp_path / "index" / "documents.sqlite")
    if how == "the file":  # of this index; a backup is a separate index
        with pytest.raises(StoreError, match=r"an older copy was put in its place.*delete everything else in the folder"):
            index(files)
        for path in (tmp_path / "index").iterdir():
            if path.name != "documents.sqlite":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not is_up_to_date([files], tmp_path / "index", pipeline=KEYWORD)
    report = index(files)
    assert (report.files, report.unchanged) == (1, 1)
    assert contents(tmp_path / "index") == after


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["a passage", "a file", "everything", "a passage too many"])
def test_l4_what_others_deleted_or_added_is_noticed(files, tmp_path, loss):
    index(files)
    before = contents(tmp_path / "index")
    store = HybridDocumentStore(tmp_path / "index")
    some = next(iter(before))
    if loss == "a passage":
        store.delete_documents([some])
    elif loss == "a file":
        store.delete_by_filter({"field": "meta.source", "operator": "==", "value": str(files / "corpus.jsonl")})
    elif loss == "everything":
        store.delete_all_documents()
    else:
        meta = json.loads(before[some])[1]
        store.write_documents([Document(id="copy", content="A copy.", meta=meta)])
    store.close()
    report = index(files)
    assert (report.files, report.unchanged) == ((2, 0) if loss == "everything" else (1, 1))
    assert contents(tmp_path / "index") == before


@pytest.mark.slow
def test_documents_that_are_of_no_file_are_left_alone(files, tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(id="own", content="My own.", meta={"source": str(files / "note.txt")})])
    store.close()
    index(files)
    (files / "note.txt").unlink()
    assert index(files, prune=True).pruned == 1
    assert "own" in contents(tmp_path / "index")
    assert index(files).unchanged == 1


@pytest.mark.slow
def test_an_interrupted_run_is_taken_up_only_where_all_that_it_wrote_still_stands(files, tmp_path):
    class InterruptionError(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done >= 512:
            raise InterruptionError

    for is_touched in (False, True):
        with pytest.raises(InterruptionError):
            index(files, progress=interrupt)
        store = HybridDocumentStore(tmp_path / "index")
        assert store.count_documents() == 512
        if is_touched:
            store.delete_documents([store.filter_documents()[0].id])
        store.close()
        report = index(files)
        assert report.passages == (601 if is_touched else 89)
        assert len(contents(tmp_path / "index")) == 601
        shutil.rmtree(tmp_path / "index")


@pytest.mark.slow
def test_l1_passages_that_vanish_during_the_run_are_not_called_complete(files, tmp_path):
    """As an earlier version could do, which takes no lock."""
    store = HybridDocumentStore(tmp_path / "index")

    def destroy(done: int, total: int) -> None:
        if done == 600:
            store.delete_documents([store.filter_documents()[0].id])

    report = index(files, progress=destroy)
    store.close()
    assert report.files == 1
    assert "599 of 600 passages are in the index" in report.failed[0]
    assert index(files).unchanged == 1
    assert len(contents(tmp_path / "index")) == 601


@pytest.mark.slow
def test_an_index_of_format_2_is_indexed_once_more_and_keeps_nothing_stale(files, tmp_path):
    """As left by version 0.x: a manifest beside the database that says everything is complete, and stale passages."""
    index(files)
    expected = {json.loads(row)[0] for row in contents(tmp_path / "index").values()}
    store = HybridDocumentStore(tmp_path / "index")
    documents = store.filter_documents()
    old = [
        Document(id=document.id, content=document.content, meta={**document.meta, "source_fingerprint": "f" * 64})
        for document in documents[50:]
    ]
    stale = Document(id="stale", content="Stale.", meta={**documents[0].meta, "source_fingerprint": "e" * 64})
    gone = Document(id="gone", content="Gone.", meta={"source": str(files / "gone.txt"), "source_fingerprint": "f" * 64})
    store.delete_all_documents()
    store.write_documents([*old, stale, gone])
    store.close()
    make_earlier(tmp_path / "index", 2)
    (tmp_path / "index" / "manifest.sqlite").write_bytes(b"whatever it says")
    assert not is_up_to_date([files], tmp_path / "index", pipeline=KEYWORD)
    report = index(files, prune=True)
    assert (report.files, report.unchanged, report.pruned, report.failed) == (2, 0, 1, [])
    assert {json.loads(row)[0] for row in contents(tmp_path / "index").values()} == expected
    assert not (tmp_path / "index" / "manifest.sqlite").exists()
    assert index(files).unchanged == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_an_index_of_an_earlier_format_that_cannot_be_written_can_be_read(number):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        (folder / "files" / "note.txt").write_text("A red fox.")
        index(folder / "files")
        make_earlier(folder / "index", number)
        with closing(sqlite3.connect(folder / "index" / "documents.sqlite")) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")

        def read() -> tuple:
            (found,) = HybridDocumentStore(folder / "index").filter_documents()
            return found.content, is_up_to_date([folder / "files"], folder / "index", pipeline=KEYWORD)

        paths = [folder, *folder.rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            shown = without_privileges(read)
        finally:
            for path in paths:
                path.chmod(0o755)
        # Format 2 did not record the files in this database.
        assert shown == f"('A red fox.', {number > 2})"


def make_earlier(index: Path, number: int) -> None:
    """Take from an index what came after a format."""
    later = {
        4: "DROP TABLE judgements; DROP TABLE query_sets; DROP TABLE judged_queries;",
        3: "DROP TABLE passage_places; DROP TABLE passage_keys;",
        2: "DROP INDEX documents_source; DROP TABLE indexed_files;"
        "ALTER TABLE documents DROP COLUMN checksum; ALTER TABLE documents DROP COLUMN vector_checksum;",
    }
    with closing(sqlite3.connect(index / "documents.sqlite")) as connection:
        connection.executescript("".join(statements for format_, statements in later.items() if format_ >= number))
        connection.execute("UPDATE settings SET value = ? WHERE name = 'format'", (number,))
        connection.commit()
    (index / "documents.ledger").unlink()


def test_meta_that_sqlite_cannot_take_apart_can_be_written(tmp_path):
    """The index on the source must not reject documents that the store has always accepted."""
    nested: list = []
    for _ in range(900):
        nested = [nested]
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(id="deep", content="x", meta={"source_fingerprint": nested, "source": "a\0b"})])
    assert store.indexed_files.snapshot().files == {}
    assert store.count_documents() == 1
    store.close()


@pytest.mark.slow
def test_l1_two_runs_at_once_over_edited_files_end_in_exactly_the_corpus(tmp_path):
    report = two_runs_at_once(tmp_path, rounds=2, seed=3, documents=300)
    assert (report.rounds, report.faults) == (2, [])


@pytest.mark.slow
def test_killed_runs_are_taken_up_and_end_in_the_same_store(tmp_path):
    report = kill_and_resume(tmp_path, rounds=2, seed=5, documents=600)
    assert (report.rounds, report.faults) == (2, [])
    assert report.kills > 0


@pytest.mark.slow
def test_killed_runs_end_in_the_same_vectors(tmp_path, bi_encoder):
    report = kill_and_resume(tmp_path, rounds=1, seed=7, documents=300, embedding_model=bi_encoder)
    assert (report.rounds, report.faults) == (1, [])
