"""An index used by several threads and processes, one of which may be killed."""

import os
import random
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from haystack.document_stores.types import DuplicatePolicy
from store_helpers import check_whole, ids, make_documents
from zygote import run_python

from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.retrieval import FilterCache, retrieve
from rerank_plugin.store.sqlite.database import Database


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


@pytest.mark.slow
def test_what_another_process_writes_is_seen_at_once(index):
    code = """
        import sys
        from haystack import Document
        from rerank_plugin.store import HybridDocumentStore
        store = HybridDocumentStore(sys.argv[1])
        for number in (77, 78):
            store.delete_documents([f"{number - 75:05}"])
            document = Document(id=f"{number:05}", content=f"fox number {number}", embedding=[1.0, 0.0, 0.0])
            store.write_documents([document])
            store.update_by_filter({"field": "id", "operator": "==", "value": "00005"}, {"title": f"badger{number}"})
            if number == 78:  # here the other process updates the keyword index
                assert len(store.bm25_retrieval("badger78")) == 1
            print(number, flush=True)
            sys.stdin.readline()
    """
    store = HybridDocumentStore(index)
    expected = set(ids(make_documents(0, 10)))
    check_whole(store, sorted(expected))
    with run_python(code, index) as writer:
        for number in (77, 78):
            assert int(writer.stdout.readline()) == number  # the other process still has the index open
            expected = expected - {f"{number - 75:05}"} | {f"{number:05}"}
            check_whole(store, sorted(expected))
            assert ids(store.bm25_retrieval(f"badger{number}")) == ["00005"]
            writer.stdin.write("\n")
            writer.stdin.flush()
    assert writer.returncode == 0
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_costs_no_acknowledged_document(folder, seed):
    """A process that writes, overwrites, deletes and searches is killed; all acknowledged changes are intact."""
    code = """
        import sys
        from haystack import Document
        from haystack.document_stores.types import DuplicatePolicy
        from rerank_plugin.store import HybridDocumentStore
        store = HybridDocumentStore(sys.argv[1])
        for batch in range(100_000):
            numbers = range(batch * 20, batch * 20 + 20)
            documents = [
                Document(id=f"{i:05}", content=f"fox number {i}", meta={"n": i}, embedding=[1.0, i / 7, 0.5])
                for i in numbers
            ]
            store.write_documents(documents)
            store.write_documents(documents[:5], policy=DuplicatePolicy.OVERWRITE)
            if batch % 3 == 0:
                store.bm25_retrieval("fox")
                store.embedding_retrieval([1.0, 0.0, 0.0])
            print(batch, flush=True)
    """
    chance = random.Random(seed)
    with run_python(code, folder) as writer:
        acknowledged = int(writer.stdout.readline())
        threading.Timer(chance.uniform(0.02, 0.6), writer.kill).start()
        for line in writer.stdout:
            acknowledged = int(line)
    assert writer.returncode == -signal.SIGKILL

    store = HybridDocumentStore(folder)
    count = store.count_documents()
    assert count % 20 == 0, "a batch is there whole or not at all"
    assert count // 20 in (acknowledged + 1, acknowledged + 2)
    documents = make_documents(0, count)
    assert store.filter_documents() == documents
    check_whole(store, ids(documents))
    store.write_documents(make_documents(count, 1))
    check_whole(store, ids(make_documents(0, count + 1)))
    store.close()


def write_and_delete(store, part):
    for batch in range(5):
        store.write_documents(make_documents(part * 100 + batch * 10, 10))
    store.delete_documents([f"{part * 100:05}"])


@pytest.mark.slow
def test_threads_may_share_a_store(folder):
    store, other = HybridDocumentStore(folder), HybridDocumentStore(folder)
    done = threading.Event()

    def read():
        while not done.is_set():
            for document in [*other.bm25_retrieval("fox", top_k=7), *store.embedding_retrieval([1.0, 0.0, 0.0])]:
                assert document.content == f"fox number {int(document.id)}"
            other.close()

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write_and_delete, store, part) for part in range(3)]
        wait(writers)
        done.set()
        for future in writers + readers:
            future.result()
    check_whole(store, [f"{part * 100 + i:05}" for part in range(3) for i in range(1, 50)])
    store.close()
    other.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_opens_the_index_for_itself(index):
    code = """
        import os, sys
        from haystack import Document
        from rerank_plugin.store import HybridDocumentStore
        store = HybridDocumentStore(sys.argv[1])
        assert len(store.bm25_retrieval("fox", top_k=50)) == 10
        child = os.fork()
        if child == 0:
            store.write_documents([Document(id="child", content="fox")])
            store.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert len(store.bm25_retrieval("fox", top_k=50)) == 11
        store.write_documents([Document(id="parent", content="fox")])
        print(store.count_documents())
    """
    with run_python(code, index) as process:
        assert process.stdout.read() == "12\n"


@pytest.mark.slow
def test_a_writer_waits_for_another_writer(index):
    store = HybridDocumentStore(index)
    connection = sqlite3.connect(index / "documents.sqlite", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, connection.execute, ["COMMIT"]).start()
    started = time.monotonic()
    assert store.count_documents() == 10, "readers do not wait"
    assert time.monotonic() - started < 0.25
    store.write_documents(make_documents(10, 1), policy=DuplicatePolicy.FAIL)
    assert store.count_documents() == 11
    connection.close()
    store.close()


def test_an_index_is_made_after_whoever_is_at_work_on_the_file(folder):
    """SQLite's busy timeout does not cover changing the journal mode while another process writes."""
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "documents.sqlite", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE anything (value)")
    threading.Timer(0.3, connection.execute, ["ROLLBACK"]).start()
    store = HybridDocumentStore(folder)
    store.write_documents(make_documents(0, 2))
    check_whole(store, ids(make_documents(0, 2)))
    connection.close()
    store.close()


@pytest.mark.parametrize("filters", [None, {"field": "n", "operator": ">=", "value": 0}])
def test_hits_that_others_delete_during_a_search_do_not_make_the_answer_shorter(folder, filters):
    store = HybridDocumentStore(folder)
    store.write_documents(make_documents(0, 100))
    others = Database(folder / "documents.sqlite")

    class Hurried:
        """An index of which others delete the best hit each time that it is asked, before the document is read."""

        def __init__(self, index):
            self.sync, self.reset, self._index = index.sync, index.reset, index

        def search(self, query, limit, allowed):
            hits = self._index.search(query, limit, allowed)
            rows = [hit.row for hit in hits if others.documents.ids_of([hit.row])]
            with others.transaction():
                others.documents.delete(rows[:1])
            return hits

    with store._session.reading() as handle:
        index = Hurried(store._session.vectors(handle))
        found = retrieve(handle.database, index, FilterCache(), np.array([1.0, 0.0, 0.0]), filters, 10)
    assert len(found) == 10
    assert [document.score for document in found] == sorted((document.score for document in found), reverse=True)
    others.close()
    store.close()
