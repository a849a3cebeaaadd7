"""Backups and compaction."""

import contextlib
import shutil
import sqlite3
import sys
import threading

import pytest
from haystack import Document
from store_helpers import check_whole, ids, make_documents
from zygote import run_python

from rerank_plugin.errors import StoreError
from rerank_plugin.store import HybridDocumentStore


def test_a_backup_is_an_index_of_its_own(tmp_path):
    store = HybridDocumentStore(tmp_path / "a", similarity="dot_product")
    store.write_documents(make_documents(0, 30))
    store.bm25_retrieval("fox")
    store.backup(tmp_path / "deep" / "b")
    store.write_documents(make_documents(30, 5))

    copy = HybridDocumentStore(tmp_path / "deep" / "b")
    check_whole(copy, ids(make_documents(0, 30)))
    copy.delete_documents(["00003"])
    check_whole(store, ids(make_documents(0, 35)))
    with pytest.raises(StoreError, match="dot_product"):
        HybridDocumentStore(tmp_path / "deep" / "b", similarity="cosine").count_documents()


def test_a_backup_of_an_index_in_memory_can_be_opened(tmp_path):
    store = HybridDocumentStore()
    store.write_documents(make_documents(0, 5))
    store.backup(tmp_path / "b")
    check_whole(HybridDocumentStore(tmp_path / "b"), ids(make_documents(0, 5)))


def test_a_backup_does_not_overwrite(tmp_path):
    store = HybridDocumentStore(tmp_path / "a")
    store.write_documents(make_documents(0, 5))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"b exists and is not empty"):
        store.backup(tmp_path / "b")
    with pytest.raises(StoreError, match="not empty"):
        store.backup(tmp_path / "a")
    assert (tmp_path / "b" / "thesis.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.slow
def test_a_backup_while_another_store_writes_is_consistent(tmp_path):
    writer, reader = HybridDocumentStore(tmp_path / "a"), HybridDocumentStore(tmp_path / "a")
    writer.write_documents(make_documents(0, 10))
    done = threading.Event()

    def write():
        for start in range(10, 400, 10):
            writer.write_documents(make_documents(start, 10))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    copies = []
    while not done.is_set() or not copies:
        copies.append(tmp_path / f"copy{len(copies)}")
        reader.backup(copies[-1])
    thread.join()
    for copy in copies:
        count = HybridDocumentStore(copy).count_documents()
        assert count % 10 == 0
        check_whole(HybridDocumentStore(copy), ids(make_documents(0, count)))


@pytest.mark.parametrize("engine", ["tantivy", "rank_bm25"])
def test_compacting_gives_room_back_and_keeps_every_document(tmp_path, engine):
    store = HybridDocumentStore(tmp_path, keyword_engine=engine)
    store.write_documents([*make_documents(0, 20), *(Document(id=f"x{i}", content="dog " * 5000) for i in range(100))])
    store.delete_documents([f"x{i}" for i in range(100)])
    other = HybridDocumentStore(tmp_path)
    check_whole(other, ids(make_documents(0, 20)))

    def size():
        return sum(path.stat().st_size for path in tmp_path.glob("documents.sqlite*"))

    before = size()
    store.compact()
    assert size() < before / 5
    for each in (store, other, HybridDocumentStore(tmp_path)):
        check_whole(each, ids(make_documents(0, 20)))
        assert each.bm25_retrieval("dog") == []
    store.write_documents(make_documents(20, 3))
    check_whole(other, ids(make_documents(0, 23)))


def test_compacting_nothing_is_fine(tmp_path):
    store = HybridDocumentStore(tmp_path / "a")
    store.compact()
    assert store.count_documents() == 0
    assert not (tmp_path / "a").exists()


def test_an_index_of_an_earlier_format_is_migrated(tmp_path):
    store = HybridDocumentStore(tmp_path)
    store.write_documents(make_documents(0, 20))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "documents.sqlite")) as connection:  # as format 1 was
        connection.execute("DROP INDEX vectors_row")
        connection.execute("DROP INDEX documents_source")
        for table in ("indexed_files", "passage_places", "passage_keys", "judged_queries", "query_sets", "judgements"):
            connection.execute(f"DROP TABLE {table}")
        for column in ("checksum", "vector_checksum"):
            connection.execute(f"ALTER TABLE documents DROP COLUMN {column}")
        connection.execute("UPDATE settings SET value = 1 WHERE name = 'format'")
        connection.commit()
    (tmp_path / "documents.ledger").unlink()
    migrated = [HybridDocumentStore(tmp_path) for _ in range(2)]
    for each in migrated:
        check_whole(each, ids(make_documents(0, 20)))
    migrated[0].write_documents(make_documents(20, 5))
    check_whole(HybridDocumentStore(tmp_path, vector_index="flat"), ids(make_documents(0, 25)))


KILLED_IN_A_BACKUP = """
    import os, signal, sys
    from pathlib import Path
    from rerank_plugin.store import HybridDocumentStore
    from rerank_plugin.store.sqlite.database import Database
    def copy_to(database, file):
        file.write_bytes(b"half of a copy")
        print("copying", flush=True)
        if sys.argv[3] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdin.readline()
        original(database, file.with_name(file.name + "2"))
    original, Database.copy_to = Database.copy_to, copy_to
    HybridDocumentStore(sys.argv[1]).backup(sys.argv[2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals and flock")
def test_l15_what_a_backup_left_behind_that_was_killed_is_removed_by_the_next(tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents(make_documents(0, 5))
    (tmp_path / "backups" / ".rerank-backup-mine").mkdir(parents=True)  # not ours: it has no lock file

    def hidden():
        return sorted(path.name for path in (tmp_path / "backups").glob(".*") if path.name != ".rerank-backup-mine")

    with run_python(KILLED_IN_A_BACKUP, tmp_path / "index", tmp_path / "backups" / "killed", "killed") as killed:
        assert killed.stdout.read() == "copying\n"
    left_behind = hidden()
    assert len(left_behind) == 2
    assert not (tmp_path / "backups" / "killed").exists()
    with run_python(KILLED_IN_A_BACKUP, tmp_path / "index", tmp_path / "backups" / "slow", "slow") as running:
        assert running.stdout.readline() == "copying\n"
        at_work = [name for name in hidden() if name not in left_behind]
        assert at_work == hidden()
        assert len(at_work) == 2
        store.backup(tmp_path / "backups" / "whole")
        assert hidden() == at_work, "a backup that is still at work keeps its folder"
        running.stdin.write("\n")
        running.stdin.close()
        running.wait()
    assert hidden() == []
    assert (tmp_path / "backups" / ".rerank-backup-mine").exists()
    check_whole(HybridDocumentStore(tmp_path / "backups" / "whole"), ids(make_documents(0, 5)))
    store.close()


def test_copies_of_a_folder_that_go_on_apart_have_revisions_of_their_own(tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(content="old")])
    store.close()
    shutil.copytree(tmp_path / "index", tmp_path / "copy")
    copy = HybridDocumentStore(tmp_path / "copy")
    assert store.revision() == copy.revision()
    store.write_documents([Document(content="one")])
    copy.write_documents([Document(content="another")])
    assert store.revision() != copy.revision()
    store.close()
    copy.close()
    # Nor does one that was put back find what was kept of another history under the same name.
    shutil.rmtree(tmp_path / "index")
    shutil.copytree(tmp_path / "copy", tmp_path / "index")
    assert store.revision() == copy.revision()
