"""L2 and L3: no open file is inherited by a forked child."""

import os
import subprocess
import sys

import forking
import pytest
from zygote import run_python

from rerank_plugin.store import HybridDocumentStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


FAST = ("exits", "another thread", "workers")  # a selection, as each begins with a second or two of imports


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(situation, marks=() if any(word in situation for word in FAST) else pytest.mark.slow)
        for situation in forking.SITUATIONS
    ],
)
def test_l2_l3_every_acknowledged_write_is_there_after_a_fork(tmp_path, situation):
    assert forking.run(situation, tmp_path / "index") > 0


@pytest.mark.attack
@pytest.mark.slow
@pytest.mark.parametrize("situation", forking.SITUATIONS)
def test_l2_l3_ten_rounds(tmp_path, situation):
    for number in range(10):
        forking.run(situation, tmp_path / f"index{number}")


def outcome(code, *arguments):
    with run_python(code, *arguments) as process:
        output = process.stdout.read()
    assert process.returncode == 0
    return output.splitlines()


def test_l2_an_index_in_memory_goes_on_in_both_processes(tmp_path):
    code = """
        import os
        from haystack import Document
        from rerank_plugin.store import HybridDocumentStore
        store = HybridDocumentStore()
        store.write_documents([Document(id="a", content="fox", embedding=[1.0, 2.0])])
        store.warm_up()
        pid = os.fork()
        name = "parent" if pid else "child"
        store.write_documents([Document(id=name, content="fox", embedding=[1.0, 2.0])])
        found = [sorted(d.id for d in hits) for hits in (store.bm25_retrieval("fox"), store.embedding_retrieval([1.0, 1.0]))]
        if pid:
            os.waitpid(pid, 0)
        print(found, flush=True)
        os._exit(0)
    """
    assert outcome(code) == [f"[['a', '{name}'], ['a', '{name}']]" for name in ("child", "parent")]


IN_USE = """
    import os, sys, threading
    from haystack import Document
    from rerank_plugin.errors import StoreError
    from rerank_plugin.store import HybridDocumentStore, forks
    store, again = HybridDocumentStore(sys.argv[1]), HybridDocumentStore(sys.argv[1])
    store.write_documents([Document(id="a", content="fox")])

    def child():
        for each in (store, again, HybridDocumentStore(sys.argv[1])):
            for use in (each.count_documents, lambda: each.write_documents([Document(id="child")])):
                try:
                    use()
                except StoreError as error:
                    print("in use while this process was forked" in str(error), flush=True)
            each.close()
        os._exit(0)
"""


def test_l2_a_fork_in_the_middle_of_a_call_leaves_the_index_to_the_parent(tmp_path):
    """As a signal handler can do."""
    code = f"""{IN_USE}
    with store._session.writing() as handle:
        handle.database.documents.delete([1])
        pid = os.fork() or child()
        os.waitpid(pid, 0)
    store.write_documents([Document(id="parent")])
    print([document.id for document in store.filter_documents()])
    """
    assert outcome(code, tmp_path / "index") == ["True"] * 6 + ["['parent']"]


@pytest.mark.slow
def test_l3_a_fork_does_not_wait_for_ever_for_another_thread(tmp_path):
    code = f"""{IN_USE}
    forks._TIMEOUT_SECONDS = 0.2
    inside, done = threading.Event(), threading.Event()

    def use():
        with store._session.reading():
            inside.set()
            done.wait()

    thread = threading.Thread(target=use)
    thread.start()
    inside.wait()
    pid = os.fork() or child()
    os.waitpid(pid, 0)
    done.set()
    thread.join()
    store.write_documents([Document(id="parent")])
    print([document.id for document in store.filter_documents()])
    """
    assert outcome(code, tmp_path / "index") == ["True"] * 6 + ["['a', 'parent']"]


def test_l2_a_process_forked_past_python_refuses_the_files_of_its_parent(tmp_path):
    code = f"""{IN_USE}
    import ctypes
    pid = ctypes.CDLL(None).fork() or child()
    os.waitpid(pid, 0)
    store.write_documents([Document(id="parent")])
    print([document.id for document in store.filter_documents()])
    """
    assert outcome(code, tmp_path / "index") == ["True"] * 6 + ["['a', 'parent']"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ivf_sq8", "hnsw"])
def test_l3_a_child_trains_a_vector_index_after_its_parent_has(tmp_path, kind):
    """OpenMP's threads do not exist in a forked child: FAISS waited for them for ever."""
    code = """
        import os, signal, sys
        from haystack import Document
        from rerank_plugin.store import HybridDocumentStore
        from rerank_plugin.store.vectors import kinds
        kinds.TRAINED_FROM = 60
        def build(path):
            store = HybridDocumentStore(path, vector_index=sys.argv[2])
            documents = [Document(id=str(i), embedding=[1.0, i % 7, i % 11, i / 50]) for i in range(400)]
            store.write_documents(documents)
            print(len(store.embedding_retrieval([1.0, 2.0, 3.0, 4.0])), store.describe_vectors()["trained"], flush=True)
        build(sys.argv[1] + "/parent")
        if not (pid := os.fork()):
            signal.alarm(300)
            build(sys.argv[1] + "/child")
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
    """
    assert outcome(code, tmp_path, kind) == ["10 400", "10 400", "0"]


def test_other_programs_are_started_without_closing_anything(tmp_path):
    """Neither `subprocess` nor `posix_spawn` runs the fork handlers."""
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([])
    with store._session.writing(create=True) as handle:
        connection = handle.database.connection
        subprocess.run([sys.executable, "-c", ""], check=True)
        os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ), 0)
        assert connection.is_open
        assert connection.in_transaction
    store.close()


@pytest.mark.slow
def test_l3_a_child_does_not_wait_for_a_lock_of_the_keyword_index(tmp_path):
    """A thread of tantivy held it during the fork: the child inherited a lock that nobody releases."""
    code = """
        import fcntl, os, signal, sys
        from pathlib import Path
        from haystack import Document
        from rerank_plugin.store import HybridDocumentStore
        store = HybridDocumentStore(sys.argv[1])
        store.write_documents([Document(id="1", content="fox")])
        store.bm25_retrieval("fox")
        (file,) = Path(sys.argv[1]).rglob(".tantivy-meta.lock")
        lock = file.open()
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (pid := os.fork()):
            signal.alarm(20)
            store.write_documents([Document(id="2", content="fox")])
            print(len(store.bm25_retrieval("fox")), flush=True)
            os._exit(0)
        lock.close()
        print(os.waitpid(pid, 0)[1], len(store.bm25_retrieval("fox")))
    """
    assert outcome(code, tmp_path / "index") == ["2", "0 2"]
