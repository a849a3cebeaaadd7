"""Folders that are copied, linked, spelled in two ways, oddly named, read-only or opened two thousand times."""

import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from haystack.document_stores.types import DuplicatePolicy
from store_helpers import check_whole, ids, make_documents
from zygote import run_python

from rerank_plugin.errors import StoreError
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.sqlite.connection import log_file


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_opening_and_closing_leaves_no_file_open(tmp_path):
    for _ in range(3):
        with HybridDocumentStore(tmp_path / "index") as store:
            store.write_documents(make_documents(0, 5), policy=DuplicatePolicy.OVERWRITE)
            store.bm25_retrieval("fox")
    before = open_files()
    for number in range(40):
        with HybridDocumentStore(tmp_path / "index") as store:
            store.write_documents(make_documents(number, 2), policy=DuplicatePolicy.OVERWRITE)
            assert store.bm25_retrieval("fox", top_k=1)
            assert store.embedding_retrieval([1.0, 0.0, 0.0], top_k=1)
    assert open_files() <= before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_opening_and_closing_many_times_leaves_no_file_open(tmp_path):
    """`make soak` does it two thousand times."""
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents(make_documents(0, 20))
    before = open_files()
    for _ in range(200):
        with HybridDocumentStore(tmp_path / "index") as store:
            assert len(store.bm25_retrieval("fox", top_k=50)) == 20
    assert open_files() <= before


def test_an_error_that_somebody_keeps_does_not_keep_the_file_open(tmp_path):
    """The cursor in the traceback of an error kept SQLite's connection open, also across a fork."""
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents(make_documents(0, 50))
    with store._session.reading() as handle:
        reading = handle.database.documents.read(None)
        next(reading)
    store.close()
    assert not (tmp_path / "index" / "documents.sqlite-wal").exists()


def test_t14_too_many_open_files_are_not_damage(tmp_path):
    code = """
        import os, resource, sys
        from rerank_plugin.errors import StoreError
        from rerank_plugin.store import HybridDocumentStore
        store = HybridDocumentStore(sys.argv[1])
        assert len(store.bm25_retrieval("fox", top_k=50)) == 10
        store.close()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for free in range(3):  # with no, one and two file descriptors left
            try:
                print(store.count_documents())
            except StoreError as error:
                print(error)
            os.close(taken.pop())
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        print(len(store.bm25_retrieval("fox", top_k=50)))
    """
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents(make_documents(0, 10))
    with run_python(code, tmp_path / "index") as process:
        *refused, found = process.stdout.read().splitlines()
    assert found == "10"
    assert len(refused) == 3
    for line in refused:
        assert "too many open files" in line
        assert "ulimit -n" in line
        assert "damaged" not in line


def test_links_and_other_spellings_are_one_index(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    stores = [
        HybridDocumentStore(tmp_path / "real"),
        HybridDocumentStore(tmp_path / "link"),
        HybridDocumentStore(f"{tmp_path}/./real/../real/"),
    ]
    for number, store in enumerate(stores):
        store.write_documents(make_documents(number * 5, 5))
    for store in stores:
        check_whole(store, ids(make_documents(0, 15)))
        store.close()
    assert not (tmp_path / "real" / "documents.sqlite-wal").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
@pytest.mark.parametrize("name", [b"100% #1?x=y", "ёлка".encode(), b"new\nline"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    with HybridDocumentStore(folder) as store:
        store.write_documents(make_documents(0, 5))
    with HybridDocumentStore(folder) as store:
        check_whole(store, ids(make_documents(0, 5)))
        store.backup(folder + "-backup")
    check_whole(HybridDocumentStore(folder + "-backup"), ids(make_documents(0, 5)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_folder_whose_name_is_no_unicode_is_refused_before_anything_is_written(tmp_path):
    """tantivy cannot open such a path."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    store = HybridDocumentStore(folder)
    with pytest.raises(StoreError, match=r"caf\\udce9' is not valid Unicode"):
        store.write_documents(make_documents(0, 5))
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_copied_while_it_is_written_is_whole_or_an_error(tmp_path):
    store, done = HybridDocumentStore(tmp_path / "index"), threading.Event()
    store.write_documents(make_documents(0, 10))

    def write():
        for start in range(10, 600, 10):
            store.write_documents(make_documents(start, 10))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    copies, refusals = 0, []
    while not done.is_set():
        copy = tmp_path / f"copy{copies}"
        try:
            shutil.copytree(tmp_path / "index", copy)
        except (shutil.Error, FileNotFoundError):
            continue  # the file was removed meanwhile
        copies += 1
        with HybridDocumentStore(copy) as copied:
            try:
                count = copied.count_documents()
            except StoreError as error:
                refusals.append(str(error))
                continue
            assert count % 10 == 0
            check_whole(copied, ids(make_documents(0, count)))
    thread.join()
    assert all("is damaged" in refusal for refusal in refusals)
    check_whole(store, ids(make_documents(0, 600)))
    store.close()


def test_a_clock_that_is_set_back_changes_nothing(tmp_path):
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents(make_documents(0, 5))
    for path in (tmp_path / "index").rglob("*"):
        os.utime(path, (4_000_000_000, 4_000_000_000))  # as if all of it had been written in the future
    with HybridDocumentStore(tmp_path / "index") as store:
        check_whole(store, ids(make_documents(0, 5)))
        store.write_documents(make_documents(5, 5))
        check_whole(store, ids(make_documents(0, 10)))
    check_whole(HybridDocumentStore(tmp_path / "index"), ids(make_documents(0, 10)))


def test_a_store_may_be_used_by_other_threads_while_one_closes_it(tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents(make_documents(0, 10))

    def use(number):
        if number % 3 == 0:
            store.close()
        return store.count_documents(), len(store.bm25_retrieval("fox", top_k=50))

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(use, range(60))) == {(10, 10)}
    store.close()
    assert not (tmp_path / "index" / "documents.sqlite-wal").exists()


def test_a_store_is_a_context_manager(tmp_path):
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents(make_documents(0, 5))
        assert (tmp_path / "index" / "documents.sqlite-wal").exists()
    assert not (tmp_path / "index" / "documents.sqlite-wal").exists()
    assert store.count_documents() == 5, "a closed store opens again"
    store.close()


def test_the_log_of_a_database_that_is_a_link_is_looked_for_beside_the_database(tmp_path):
    with HybridDocumentStore(tmp_path / "real") as store:
        store.write_documents(make_documents(0, 3))
    (tmp_path / "linked").mkdir()
    link = tmp_path / "linked" / "documents.sqlite"
    link.symlink_to(tmp_path / "real" / "documents.sqlite")
    store = HybridDocumentStore(tmp_path / "linked")
    store.write_documents(make_documents(3, 3))
    assert log_file(link).stat().st_size, "a reader that cannot write is told that the index is not closed"
    store.close()
    assert not log_file(link).exists()
    check_whole(store, ids(make_documents(0, 6)))
    store.close()
