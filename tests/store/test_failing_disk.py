"""A full disk, a read-only folder, a damaged file: a clear error, and no data loss."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from store_helpers import check_whole, ids, make_documents
from zygote import run_python

from rerank_plugin.errors import StoreError
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.sqlite.documents import DocumentTable


@pytest.fixture
def index(tmp_path):
    """A closed index with ten documents."""
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents(make_documents(0, 10))
    store.close()
    return tmp_path / "index"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("kilobytes", [1, 20, 60, 110, 200, 333, 500])
def test_files_that_cannot_grow(tmp_path, kilobytes):
    """A write fails at some point, in the database or in a derived index: all acknowledged changes are intact."""
    code = """
        import resource, signal, sys
        from haystack import Document
        from rerank_plugin.errors import StoreError
        from rerank_plugin.store import HybridDocumentStore
        store = HybridDocumentStore(sys.argv[1], vector_index="flat")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]) * 1000,) * 2)
        for batch in range(1000):
            numbers = range(batch * 20, batch * 20 + 20)
            documents = [
                Document(id=f"{i:05}", content=f"fox number {i}", meta={"n": i}, embedding=[1.0, i / 7, 0.5])
                for i in numbers
            ]
            try:
                store.write_documents(documents)
                written = batch + 1
                store.bm25_retrieval("fox")
            except StoreError as error:
                print(error, flush=True)
                break
            print(written, flush=True)
        for again in range(3):  # every attempt gives an error, not a crash
            try:
                store.write_documents([Document(content=f"fox {again}" * 1000)])
            except StoreError:
                pass
    """
    folder = tmp_path / "index"
    with run_python(code, folder, kilobytes) as writer:
        *acknowledged, error = writer.stdout.read().splitlines()
    assert writer.returncode == 0
    assert error.startswith(("the index in", "the keyword index", "disk")), error
    store = HybridDocumentStore(folder)
    mine = [document for document in store.filter_documents() if document.meta]
    assert len(mine) in (20 * len(acknowledged), 20 * len(acknowledged) + 20)
    assert mine == make_documents(0, len(mine))
    store.delete_documents([document.id for document in store.filter_documents() if not document.meta])
    check_whole(store, ids(mine))
    store.write_documents(make_documents(len(mine), 5))
    check_whole(store, ids(make_documents(0, len(mine) + 5)))
    store.close()


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_store_stays_as_it_was(index, monkeypatch):
    original = DocumentTable.put

    def put(documents, entries):
        documents._connection.execute("PRAGMA max_page_count = 10")  # SQLite then behaves as on a full disk
        original(documents, entries)

    store = HybridDocumentStore(index)
    with monkeypatch.context() as patch:
        patch.setattr(DocumentTable, "put", put)
        with pytest.raises(StoreError, match=r"full.*: free disk space; nothing of this write was stored"):
            store.write_documents(make_documents(10, 5000))
    check_whole(store, ids(make_documents(0, 10)))
    store.close()
    check_whole(HybridDocumentStore(index), ids(make_documents(0, 10)))


@contextlib.contextmanager
def read_only(source):
    """A copy of an index that an unprivileged process can read but not write."""
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(source, folder / "index")
    try:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield folder / "index"
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(folder)


READER = """
    import os, sys
    import faiss, tantivy
    from haystack import Document
    from rerank_plugin.errors import StoreError
    from rerank_plugin.store import HybridDocumentStore
    import rerank_plugin.store.keywords.rank_bm25_index, rerank_plugin.store.keywords.tantivy_index, rank_bm25, Stemmer
    if os.geteuid() == 0:  # root can write everywhere
        os.setgid(65534)
        os.setuid(65534)
    store = HybridDocumentStore(sys.argv[1])
    for action in (
        lambda: len(store.bm25_retrieval("fox", top_k=50)),
        lambda: len(store.embedding_retrieval([1.0, 0.0, 0.0], top_k=50)),
        lambda: len(store.filter_documents({"field": "n", "operator": "<", "value": 5})),
        lambda: store.write_documents([Document(content="new")]),
        lambda: store.delete_all_documents(),
        lambda: store.count_documents(),
        lambda: store.close(),
    ):
        try:
            print(action())
        except StoreError as error:
            print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_folder_that_cannot_be_written_can_be_searched(index):
    with read_only(index) as folder, run_python(READER, folder) as reader:
        lines = reader.stdout.read().splitlines()
        assert lines[:3] == ["10", "10", "5"]
        for line in lines[3:5]:
            assert line.startswith(f"the index in {folder} cannot be written (attempt to write a readonly database)")
        assert lines[5:] == ["10", "None"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_folder_that_was_not_closed_and_cannot_be_written(index):
    store = HybridDocumentStore(index)
    store.write_documents(make_documents(10, 1))  # stays in SQLite's write-ahead log until the store is closed
    with read_only(index) as folder, run_python(READER, folder) as reader:
        lines = reader.stdout.read().splitlines()
        assert "its last writer has not closed it: open it once where it is writable" in lines[0]
    store.close()


def test_a_damaged_database_is_an_error_that_says_what_to_do(index):
    path = index / "documents.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 : len(data) // 2] = b"\x55" * (len(data) // 2 - 4096)
    path.write_bytes(data)
    store = HybridDocumentStore(index)
    with pytest.raises(StoreError, match="put a backup in its place, or index the documents again into a new folder"):
        store.filter_documents()


def test_whoever_may_read_the_folder_may_read_all_of_the_index(index):
    store = HybridDocumentStore(index)
    store.bm25_retrieval("fox")
    store.write_documents(make_documents(10, 1))
    store.close()
    for path in index.rglob("*"):
        assert path.stat().st_mode & 0o444 == index.stat().st_mode & 0o444, path


READER_THAT_STAYS = """
    import os, sys
    from rerank_plugin.store import HybridDocumentStore
    store = HybridDocumentStore(sys.argv[1])
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    for line in sys.stdin:
        hits = store.bm25_retrieval("fox", top_k=10_000)
        print(store.count_documents(), len(hits), len(store.filter_documents()), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_reader_without_rights_sees_what_others_write_between_its_calls():
    with tempfile.TemporaryDirectory(prefix="read-only-") as name:
        folder = Path(name)
        store = HybridDocumentStore(folder / "index")
        store.write_documents(make_documents(0, 300))
        store.bm25_retrieval("fox")
        store.close()
        for path in (folder, folder / "index", folder / "index" / "keywords"):
            path.chmod(0o755 if os.geteuid() == 0 else 0o555)
        with run_python(READER_THAT_STAYS, folder / "index") as reader:

            def counts():
                reader.stdin.write("\n")
                reader.stdin.flush()
                return reader.stdout.readline().split()

            assert counts() == ["300"] * 3
            for path in (folder, folder / "index", folder / "index" / "keywords"):
                path.chmod(0o755)
            store.write_documents(make_documents(300, 3_000))
            store.close()
            assert counts() == ["3300"] * 3
            store.delete_documents([f"{i:05}" for i in range(250)])
            store.close()
            store.compact()
            store.close()
            assert counts() == ["3050"] * 3
            reader.stdin.close()
