"""
Processes that fork with an index open; a few rounds in the tests, more by hand:

    PYTHONPATH=tests python tests/store/forking.py --rounds 50
"""

import argparse
import json
import sys
import tempfile
import textwrap
from pathlib import Path

from zygote import run_python

from rerank_plugin.store import HybridDocumentStore

# A child that waits for a lock of its parent's, or hangs in a library, is ended by its alarm: the test fails.
_PRELUDE = """
    import multiprocessing, os, signal, sys, threading
    from haystack import Document
    from rerank_plugin.store import HybridDocumentStore

    store = HybridDocumentStore(sys.argv[1])

    def write(writer, batches):
        for batch in range(batches):
            store.write_documents(
                [Document(id=f"{writer}-{batch}-{i}", content="fox", embedding=[1.0, i, batch]) for i in range(5)]
            )
            os.write(1, f"{writer}-{batch}\\n".encode())  # one write, so that lines of several processes do not mix

    def work(name):
        signal.alarm(300)
        write(name, 4)
        assert len(store.bm25_retrieval("fox", top_k=1000)) >= 20
        assert len(store.embedding_retrieval([1.0, 0.0, 0.0], top_k=1000)) >= 20
        write(name + "again", 2)

    def child(name):
        try:
            work(name)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)

    def wait(*children):
        for each in children:
            assert os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) == 0

    write("parent", 2)
"""

SITUATIONS = {
    "idle, and the parent goes on": """
        pid = os.fork() or child("child")
        write("after", 3)
        wait(pid)
    """,
    "idle, and the parent closes the store": """
        pid = os.fork() or child("child")
        store.close()
        wait(pid)
    """,
    "idle, and the parent exits, as a daemon's does": """
        os.fork() or child("child")
        os._exit(0)
    """,
    "while another thread writes": """
        thread = threading.Thread(target=write, args=("thread", 12))
        thread.start()
        children = [os.fork() or child(f"child{n}") for n in range(2)]
        thread.join()
        wait(*children)
    """,
    "while four threads read and write": """
        done = threading.Event()

        def read():
            while not done.is_set():
                store.bm25_retrieval("fox")
                store.count_documents()

        threads = [threading.Thread(target=read) for _ in range(3)]
        threads.append(threading.Thread(target=write, args=("thread", 10)))
        for thread in threads:
            thread.start()
        children = [os.fork() or child(f"child{n}") for n in range(3)]
        done.set()
        for thread in threads:
            thread.join()
        wait(*children)
    """,
    "with three workers after a preload, as gunicorn does": """
        store.warm_up()
        wait(*[os.fork() or child(f"worker{n}") for n in range(3)])
    """,
    "by multiprocessing": """
        workers = [multiprocessing.get_context("fork").Process(target=work, args=(f"worker{n}",)) for n in range(2)]
        for worker in workers:
            worker.start()
        write("parent-too", 3)
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
    """,
}


def run(situation: str, folder: Path) -> int:
    """Run a program that forks while this process opens and closes the index. Returns the acknowledged batches."""
    code = textwrap.dedent(_PRELUDE) + textwrap.dedent(SITUATIONS[situation])
    batches = []
    with run_python(code, folder) as process:
        for line in process.stdout:  # until the last child has exited
            batches.append(line.strip())
            with HybridDocumentStore(folder) as visitor:
                visitor.count_documents()
        assert process.wait() == 0, process.errors()
        errors = process.errors()
    assert errors == ""
    with HybridDocumentStore(folder) as store:
        written = {document.id for document in store.filter_documents()}
        searched = {document.id for document in store.bm25_retrieval("fox", top_k=10_000)}
    assert written == searched == {f"{batch}-{i}" for batch in batches for i in range(5)}
    return len(batches)


def main() -> None:
    """Run every situation repeatedly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    for situation in SITUATIONS:
        batches = 0
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                batches += run(situation, Path(folder) / "index")
        report = {"fork": situation, "rounds": rounds, "acknowledged": batches, "lost": 0}
        sys.stdout.write(f"{json.dumps(report)}\n")


if __name__ == "__main__":
    main()
