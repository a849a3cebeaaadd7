"""Damage to the source-of-truth database: every result is complete, or there is one error with its remedy."""

import os
import shutil
import signal
import sqlite3
import sys
import zlib
from contextlib import closing

import pytest
from haystack import Document
from store_helpers import check_whole, ids, make_documents
from zygote import run_python

from rerank_plugin.errors import IndexFormatError, StoreError
from rerank_plugin.store import HybridDocumentStore

DOCUMENTS = make_documents(0, 40)
IDS = ids(DOCUMENTS)


@pytest.fixture
def index(tmp_path):
    """A closed index with an older copy beside it."""
    folder = tmp_path / "index"
    with HybridDocumentStore(folder) as store:
        store.write_documents(DOCUMENTS[:20])
    shutil.copytree(folder, tmp_path / "older")
    with HybridDocumentStore(folder) as store:
        store.write_documents(DOCUMENTS[20:])
    return folder


WRITER = """
    import os, signal, sys
    from haystack import Document
    from rerank_plugin.store import HybridDocumentStore
    store = HybridDocumentStore(sys.argv[1])
    for start in (40, 45):
        store.write_documents([
            Document(id=f"{i:05}", content=f"fox number {i}", meta={"n": i}, embedding=[1.0, i / 7, 0.5])
            for i in range(start, start + 5)
        ])
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(index):
    """The same index after a writing process was killed: its last writes are in the write-ahead log."""
    with run_python(WRITER, index) as writer:
        writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    assert (index / "documents.sqlite-wal").stat().st_size > 0
    return index


def delete(path, older):
    path.unlink()


def empty(path, older):
    path.write_bytes(b"")


def cut(path, older):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path, older):
    """Flip a bit: of a text in a database, in the middle of any other file."""
    data = bytearray(path.read_bytes())
    text = data.find(b"fox number 11")
    data[text if text >= 0 else len(data) // 10] ^= 1
    path.write_bytes(data)


def restore(path, older):
    shutil.copy(older / path.name, path) if (older / path.name).exists() else path.unlink()


DAMAGES = [delete, empty, cut, flip, restore]


def whole_or_one_error(folder, expected):
    """Read the index in every way; return the error, if there is one."""
    uses = {
        "count": HybridDocumentStore.count_documents,
        "documents": HybridDocumentStore.filter_documents,
        "filter": lambda store: ids(store.filter_documents({"field": "n", "operator": ">=", "value": 0})),
        "keywords": lambda store: ids(store.bm25_retrieval("fox", top_k=1000)),
        "vectors": lambda store: ids(store.embedding_retrieval([1.0, 0.0, 0.0], top_k=1000)),
    }
    whole = {"count": len(expected), "documents": make_documents(0, len(expected))}
    errors = {}
    with HybridDocumentStore(folder) as store:
        for name, use in uses.items():
            try:
                assert use(store) == whole.get(name, expected), name
            except StoreError as error:
                errors[name] = message = str(error)
                assert "is damaged" in message or "is not an index" in message, message
                assert "put " in message or "delete" in message or "pass an index" in message, message
    return errors.get("count") or next(iter(errors.values()), None)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["documents.sqlite", "documents.ledger"])
def test_s3_a_closed_index_is_whole_or_an_error(index, tmp_path, name, damage):
    damage(index / name, tmp_path / "older")
    error = whole_or_one_error(index, IDS)
    assert (error is None) == (name == "documents.ledger")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["documents.sqlite", "documents.sqlite-wal", "documents.sqlite-shm", "documents.ledger"])
def test_s3_an_index_whose_writer_was_killed_is_whole_or_an_error(killed, tmp_path, name, damage):
    expected = ids(make_documents(0, 50))
    damage(killed / name, tmp_path / "older")
    error = whole_or_one_error(killed, expected)
    if name in ("documents.sqlite-shm", "documents.ledger"):
        assert error is None
    if name == "documents.sqlite-wal":
        assert "ends with change" in error


def test_s3_a_flipped_bit_in_the_schema_is_damage_in_words(index):
    with closing(sqlite3.connect(index / "documents.sqlite")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'instr(', 'iostr(')")
        connection.commit()
    assert "is damaged" in whole_or_one_error(index, IDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_s3_any_flipped_bit_of_a_closed_database_is_harmless_or_an_error(index, tmp_path, seed):
    import random

    chance = random.Random(seed)
    for number in range(40):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(index, copy)
        data = bytearray((copy / "documents.sqlite").read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (copy / "documents.sqlite").write_bytes(data)
        whole_or_one_error(copy, IDS)


def change(folder, statement):
    with closing(sqlite3.connect(folder / "documents.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()


ROWS = {
    "meta that is no JSON": "UPDATE documents SET meta = '{' WHERE row = 5",
    "meta that is empty": "UPDATE documents SET meta = '' WHERE row = 5",
    "meta that is NULL": "UPDATE documents SET meta = NULL WHERE row = 5",
    "meta that is a list": "UPDATE documents SET meta = '[1]' WHERE row = 5",
    "another content": "UPDATE documents SET content = 'hen' WHERE row = 5",
    "content that is a number": "UPDATE documents SET content = 7 WHERE row = 5",
    "an id that is NULL": "UPDATE documents SET id = NULL WHERE row = 5",
    "a vector that is too short": "UPDATE vectors SET embedding = x'0000' WHERE row = 5",
    "a vector that is a text": "UPDATE vectors SET embedding = 'abc' WHERE row = 5",
    "a vector without a document": "INSERT INTO vectors VALUES (77, x'000000000000000000000000')",
    "a row beyond the last": "UPDATE documents SET row = 999 WHERE row = 5",
    "a format that is NULL": "UPDATE settings SET value = NULL WHERE name = 'format'",
    "a format that is a text": "UPDATE settings SET value = 'abc' WHERE name = 'format'",
    "no counter": "DELETE FROM settings WHERE name = 'counter'",
    "a counter that is NULL": "UPDATE settings SET value = NULL WHERE name = 'counter'",
    "no last row": "DELETE FROM settings WHERE name = 'last_row'",
    "no index id": "DELETE FROM settings WHERE name = 'index_id'",
    "no similarity": "DELETE FROM settings WHERE name = 'similarity'",
    "an unknown language": "UPDATE settings SET value = 'xx' WHERE name = 'language'",
    "search fields that are no JSON": "UPDATE settings SET value = '{' WHERE name = 'search_fields'",
    "a dimension that is a text": "UPDATE settings SET value = 'abc' WHERE name = 'embedding_dim'",
    "no dimension": "UPDATE settings SET value = NULL WHERE name = 'embedding_dim'",
}


@pytest.mark.slow
@pytest.mark.parametrize("statement", ROWS.values(), ids=ROWS)
def test_s3_rows_that_were_damaged_while_nobody_looked_are_an_error_on_opening(index, statement):
    change(index, statement)
    assert "is damaged" in whole_or_one_error(index, IDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [statement for name, statement in ROWS.items() if not name.startswith(("a row", "a format")) and "without" not in name],
    ids=str,
)
def test_s3_rows_that_are_damaged_while_the_index_is_open_are_project_errors(index, statement):
    with HybridDocumentStore(index, vector_index="flat", keyword_engine="rank_bm25") as store:
        assert store.count_documents() == 40
        change(index, statement)
        errors = []
        for use in (
            store.filter_documents,
            lambda: store.bm25_retrieval("fox", top_k=100),
            lambda: store.embedding_retrieval([1.0, 0.0, 0.0], top_k=100),
            lambda: store.filter_documents({"field": "n", "operator": ">=", "value": 0}),
            store.get_metadata_fields_info,
            store.settings,
            store.revision,
        ):
            try:
                use()
            except StoreError as error:
                errors.append(str(error))
        assert errors
        assert all("damaged" in error for error in errors)


def test_s3_an_index_that_was_closed_is_not_read_from_end_to_end_again(index, monkeypatch):
    from rerank_plugin.store.sqlite import database

    read = []
    original = database.check_everything
    monkeypatch.setattr(database, "check_everything", lambda *tables: read.append(1) or original(*tables))
    for _ in range(2):
        with HybridDocumentStore(index) as store:
            check_whole(store, IDS)
    assert read == []
    os.utime(index / "documents.sqlite")
    for _ in range(2):
        with HybridDocumentStore(index) as store:
            check_whole(store, IDS)
    assert read == [1]
    shutil.copytree(index, index.with_name("copy"))
    for _ in range(2):
        with HybridDocumentStore(index.with_name("copy")) as store:
            check_whole(store, IDS)
    assert read == [1, 1]


def test_l4_a_database_that_was_deleted_is_not_begun_anew(index):
    (index / "documents.sqlite").unlink()
    store = HybridDocumentStore(index)
    with pytest.raises(StoreError, match=r"it is missing, although change 2 was acknowledged.*or delete this one"):
        store.count_documents()
    with pytest.raises(StoreError, match="it is missing"):
        store.write_documents(DOCUMENTS)
    shutil.rmtree(index)
    store.write_documents(DOCUMENTS)
    check_whole(store, IDS)
    store.close()


@pytest.mark.parametrize(
    "name", ["keywords/en/list.txt", "vectors/list.txt", "manifest-of-cargo.txt", "documents.sqlite.txt"]
)
def test_l5_a_folder_of_the_users_with_our_names_in_it_is_no_index(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("mine")
    store = HybridDocumentStore(tmp_path)
    for use in (store.count_documents, lambda: store.bm25_retrieval("fox"), lambda: store.write_documents(DOCUMENTS)):
        with pytest.raises(StoreError, match="is not an index: it holds"):
            use()
    store.close()
    assert path.read_text() == "mine"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


def test_a_write_is_not_reported_as_failed_where_a_newer_version_has_written_the_ledger_meanwhile(index):
    store = HybridDocumentStore(index)
    store.count_documents()
    text = '{"format": 2}'
    (index / "documents.ledger").write_text(f"{zlib.crc32(text.encode())} {text}")
    assert store.write_documents([Document(id="new", content="fox")]) == 1
    assert store.count_documents() == len(IDS) + 1
    store.close()
    with pytest.raises(IndexFormatError, match="has format 2"):
        store.count_documents()
