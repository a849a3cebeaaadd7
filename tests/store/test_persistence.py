"""An index on disk: reopening, sharing, damaged files, wrong folders, other versions."""

import json
import logging
import re
import shutil
import sqlite3

import pytest
from haystack import Document
from store_helpers import check_whole, ids, make_documents

from rerank_plugin.errors import IndexFormatError, StoreError
from rerank_plugin.store import HybridDocumentStore


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "some" / "index"


@pytest.fixture
def index(folder):
    """A closed index with ten documents."""
    store = HybridDocumentStore(folder)
    store.write_documents(make_documents(0, 10))
    store.close()
    return folder


def test_an_index_is_there_again_after_closing(folder):
    store = HybridDocumentStore(folder, similarity="dot_product", language="ru", stop_words=True)
    store.write_documents([Document(id="a", content="Ёлки у дома", embedding=[3.0, 4.0])])
    found = [*store.bm25_retrieval("елка"), *store.embedding_retrieval([1.0, 1.0])]
    store.close()
    again = HybridDocumentStore(folder)
    assert [*again.bm25_retrieval("елка"), *again.embedding_retrieval([1.0, 1.0])] == found
    assert found[1].score == 7.0
    assert again.bm25_retrieval("у") == []
    again.close()


def test_reading_a_folder_that_does_not_exist_shows_nothing_and_makes_nothing(folder):
    store = HybridDocumentStore(folder)
    store.warm_up()
    assert store.count_documents() == 0
    assert store.filter_documents() == store.bm25_retrieval("fox") == store.embedding_retrieval([1.0]) == []
    store.delete_documents(["a"])
    store.delete_all_documents()
    store.close()
    assert not folder.parent.exists()
    store.write_documents(make_documents(0, 1))
    check_whole(store, ["00000"])
    store.close()


def test_two_stores_on_one_folder_see_each_other(folder, tmp_path):
    first, second = HybridDocumentStore(folder), HybridDocumentStore(tmp_path / "some" / ".." / "some" / "index")
    first.write_documents(make_documents(0, 3))
    second.write_documents(make_documents(3, 3))
    check_whole(first, ids(make_documents(0, 6)))
    first.close()
    first.close()
    check_whole(second, ids(make_documents(0, 6)))
    second.delete_documents(["00004"])
    assert first.count_documents() == 5, "a closed store opens again"
    first.close()
    second.close()
    assert not (folder / "documents.sqlite-wal").exists(), "the last one to close gives the files back"


def test_a_store_that_is_forgotten_gives_its_files_back(index):
    store = HybridDocumentStore(index)
    store.write_documents(make_documents(10, 1))
    assert (index / "documents.sqlite-wal").exists()
    del store
    assert not (index / "documents.sqlite-wal").exists()


def test_a_closed_index_needs_no_catching_up(index):
    before = {path.name: path.stat().st_mtime_ns for path in (index / "keywords").glob("*/*.idx")}
    store = HybridDocumentStore(index)
    check_whole(store, ids(make_documents(0, 10)))
    store.close()
    assert before == {path.name: path.stat().st_mtime_ns for path in (index / "keywords").glob("*/*.idx")} != {}


@pytest.mark.parametrize(
    ("built", "asked"),
    [
        ({"similarity": "l2"}, {"similarity": "cosine"}),
        ({"language": "ru"}, {"language": "en"}),
        ({}, {"language": "ru"}),
        ({"stop_words": True}, {"stop_words": False}),
        ({"embedding_dim": 3}, {"embedding_dim": 4}),
        ({}, {"search_fields": {"content": 1}}),
    ],
)
def test_a_setting_that_contradicts_the_index_is_an_error(folder, built, asked):
    store = HybridDocumentStore(folder, **built)
    store.write_documents(make_documents(0, 1))
    (name, value), *_ = asked.items()
    other = HybridDocumentStore(folder, **asked)
    for use in (other.count_documents, lambda: other.bm25_retrieval("fox"), lambda: other.write_documents([Document()])):
        with pytest.raises(StoreError, match=f"{name}=.*{name}={re.escape(repr(value))}.*omit {name}.*new folder"):
            use()
    other.close()
    check_whole(store, ["00000"])
    store.close()


def test_the_keyword_engine_may_differ_from_the_one_the_index_was_built_with(index):
    plain, default = HybridDocumentStore(index, keyword_engine="rank_bm25"), HybridDocumentStore(index)
    plain.write_documents(make_documents(10, 5))
    check_whole(plain, ids(make_documents(0, 15)))
    check_whole(default, ids(make_documents(0, 15)))
    plain.close()
    default.close()


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def overwrite(path):
    path.write_bytes(b"\0" * (path.stat().st_size // 2))


def scramble(path):
    """Replace all but the signature at the end, so that the damage shows only when the file is used."""
    data = path.read_bytes()
    signature = 8 + int.from_bytes(data[-8:-4], "little")
    path.write_bytes(b"\xff" * (len(data) - signature) + data[-signature:])


@pytest.mark.parametrize(
    ("pattern", "damage", "warns"),
    [
        ("keywords", remove, False),  # indistinguishable from an index that was never searched
        ("keywords/state.json", remove, False),
        ("keywords/state.json", overwrite, True),
        ("keywords/*/meta.json", remove, True),
        ("keywords/*/meta.json", overwrite, True),
        ("keywords/*/*.idx", remove, True),
        ("keywords/*/*.term", overwrite, True),
        ("keywords/*/*.fast", overwrite, True),
        ("keywords/*/*.term", scramble, True),
        ("keywords/*/*.fast", scramble, True),
    ],
)
def test_a_damaged_keyword_index_is_built_again(index, caplog, pattern, damage, warns):
    paths = list(index.glob(pattern))
    assert paths
    for path in paths:
        damage(path)
    store = HybridDocumentStore(index)
    with caplog.at_level(logging.WARNING):
        check_whole(store, ids(make_documents(0, 10)))
    assert ("damaged and will be built again" in caplog.text) == warns
    caplog.clear()
    store.write_documents(make_documents(10, 1))
    check_whole(store, ids(make_documents(0, 11)))
    store.close()
    check_whole(HybridDocumentStore(index), ids(make_documents(0, 11)))
    assert "damaged" not in caplog.text


def test_an_index_damaged_while_it_is_open_is_built_again(index, caplog):
    store = HybridDocumentStore(index)
    store.warm_up()
    remove(index / "keywords")
    store.write_documents(make_documents(10, 1))
    check_whole(store, ids(make_documents(0, 11)))
    store.close()


def test_l4_an_older_copy_of_the_database_is_not_served_as_if_nothing_were_missing(index, tmp_path):
    shutil.copy(index / "documents.sqlite", tmp_path / "backup")
    store = HybridDocumentStore(index)
    store.delete_documents(["00003"])
    store.write_documents(make_documents(10, 5))
    store.close()
    shutil.copy(tmp_path / "backup", index / "documents.sqlite")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"ends with change 1, but change 3 was acknowledged.*delete everything else"):
            store.bm25_retrieval("fox")
    for path in index.iterdir():  # as the message says
        if path.name != "documents.sqlite":
            remove(path)
    check_whole(store, ids(make_documents(0, 10)))
    store.write_documents(make_documents(20, 5))
    check_whole(store, ids(make_documents(0, 10)) + ids(make_documents(20, 5)))


def test_a_backup_put_in_the_place_of_the_database_wins_over_newer_derived_files(index, tmp_path):
    with HybridDocumentStore(index) as store:
        store.backup(tmp_path / "backup")
        store.delete_documents(["00003"])
        store.write_documents(make_documents(10, 5))
    shutil.copy(tmp_path / "backup" / "documents.sqlite", index / "documents.sqlite")
    check_whole(store, ids(make_documents(0, 10)))


def test_derived_files_of_another_index_are_not_believed(index, tmp_path):
    other = HybridDocumentStore(tmp_path / "other")
    other.write_documents([Document(id=f"{i:05}", content="hen") for i in range(10)])
    other.close()
    shutil.rmtree(index / "keywords")
    shutil.copytree(tmp_path / "other" / "keywords", index / "keywords")
    check_whole(HybridDocumentStore(index), ids(make_documents(0, 10)))


def test_a_folder_that_is_deleted_or_moved_under_an_open_store_is_an_error_until_it_is_closed(index, tmp_path):
    store = HybridDocumentStore(index)
    check_whole(store, ids(make_documents(0, 10)))
    index.rename(tmp_path / "elsewhere")
    for use in (store.count_documents, lambda: store.bm25_retrieval("fox"), lambda: store.write_documents([Document()])):
        with pytest.raises(StoreError, match="is gone: it was moved or deleted while it was open"):
            use()
    (tmp_path / "elsewhere").rename(index)
    check_whole(store, ids(make_documents(0, 10)))
    shutil.rmtree(index)
    with pytest.raises(StoreError, match="is gone"):
        store.count_documents()
    store.close()
    assert store.count_documents() == 0
    store.write_documents(make_documents(50, 2))
    check_whole(store, ids(make_documents(50, 2)))
    store.close()


def test_an_index_that_is_replaced_under_an_open_store_is_the_one_that_is_read(index, tmp_path):
    store, new = HybridDocumentStore(index), HybridDocumentStore(tmp_path / "new")
    check_whole(store, ids(make_documents(0, 10)))
    new.write_documents(make_documents(50, 5))
    new.close()
    index.rename(tmp_path / "old")
    (tmp_path / "new").rename(index)
    check_whole(store, ids(make_documents(50, 5)))
    store.close()
    check_whole(HybridDocumentStore(tmp_path / "old"), ids(make_documents(0, 10)))


def test_a_path_that_cannot_be_an_index_is_an_error(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.pdf").write_text("text")
    for name, message in (("file", "is a file"), ("papers", "is not an index: it holds 'thesis.pdf'")):
        store = HybridDocumentStore(tmp_path / name)
        with pytest.raises(StoreError, match=message):
            store.count_documents()
        with pytest.raises(StoreError, match=message):
            store.write_documents(make_documents(0, 1))
    with pytest.raises(StoreError, match="file"):
        HybridDocumentStore(tmp_path / "file" / "below").write_documents(make_documents(0, 1))


def test_files_of_other_parts_of_the_package_may_be_there_first(folder):
    folder.mkdir(parents=True)
    (folder / "manifest.sqlite").write_text("")
    store = HybridDocumentStore(folder)
    assert store.count_documents() == 0
    store.write_documents(make_documents(0, 1))
    store.close()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 9, None])
def test_a_database_that_is_no_index_is_an_error_and_stays_as_it_is(folder, content):
    folder.mkdir(parents=True)
    path = folder / "documents.sqlite"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.close()
        content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(IndexFormatError, match="is not an index of rerank-plugin"):
        HybridDocumentStore(folder).write_documents(make_documents(0, 1))
    assert path.read_bytes() == content


def test_an_empty_database_file_left_by_a_killed_process_is_an_empty_index(folder):
    folder.mkdir(parents=True)
    (folder / "documents.sqlite").touch()
    store = HybridDocumentStore(folder)
    assert store.count_documents() == 0
    store.write_documents(make_documents(0, 1))
    check_whole(store, ["00000"])
    store.close()


def test_a_newer_format_is_an_error_that_names_both_versions(index):
    state = index / "keywords" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "format": 8}))
    with pytest.raises(IndexFormatError, match="format 8, this version reads up to 4: upgrade rerank-plugin"):
        HybridDocumentStore(index).bm25_retrieval("fox")
    connection = sqlite3.connect(index / "documents.sqlite")
    connection.execute("UPDATE settings SET value = 9 WHERE name = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(IndexFormatError, match="format 9, this version reads up to 5: upgrade rerank-plugin"):
        HybridDocumentStore(index).count_documents()


def test_closing_the_store_in_the_middle_of_a_call_of_the_same_thread_does_not_break_the_call(index):
    """As a signal handler or a finaliser does, which runs between any two steps of the thread that it interrupts."""
    store = HybridDocumentStore(index)
    with store._session.writing() as handle:
        rows = handle.database.documents.rows_of(["00003"])
        store.close()
        handle.database.documents.delete(list(rows.values()))
    assert not (index / "documents.sqlite-wal").exists(), "it is closed when the call is done"
    check_whole(store, ids(make_documents(0, 3) + make_documents(4, 6)))
    store.close()
