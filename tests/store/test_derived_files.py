"""Files of derived indexes: damaged, of other origin, or temporarily inaccessible. Results are never silently shorter."""

import errno
import json
import logging
import os
import random
import re
import shutil
import sqlite3
import sys
import time

import pytest
from haystack import Document
from haystack.document_stores.types import DuplicatePolicy
from store_helpers import check_whole, ids, make_documents
from zygote import run_python

from rerank_plugin.errors import IndexFormatError, StoreError
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.derived_files import DerivedFiles
from rerank_plugin.store.failures import environment_failure, explain

WORDS = ["fox", "number 3", "number 31", "hen", "fox 59"]
VECTORS = [[1.0, 0.0, 0.0], [0.3, 2.0, 0.5]]


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rerank_plugin.store.vectors.kinds.FLAT_FILE_FROM", 10)
        patch.setattr("rerank_plugin.store.vectors.kinds.TRAINED_FROM", 5)
        yield


@pytest.fixture(scope="module")
def stages(tmp_path_factory, patched):
    """A closed index, and a copy of the same index from before the last changes."""
    root = tmp_path_factory.mktemp("stages")
    folder = root / "index"
    store = HybridDocumentStore(folder)
    store.write_documents(make_documents(0, 60))
    store.close()
    shutil.copytree(folder, root / "older")
    changed = [Document(id=f"{i:05}", content="a hen", embedding=[0.0, 1.0, i / 9]) for i in range(8)]
    store.write_documents(changed, policy=DuplicatePolicy.OVERWRITE)  # as many documents as before
    store.close()
    return root


@pytest.fixture
def index(stages, tmp_path):
    return shutil.copytree(stages / "index", tmp_path / "index")


def answers(store):
    found = [sorted(d.id for d in store.bm25_retrieval(query, top_k=100)) for query in WORDS]
    vectors = [[(d.id, round(d.score, 5)) for d in store.embedding_retrieval(v, top_k=100)] for v in VECTORS]
    return found, vectors


def fresh_answers(folder, tmp_path):
    copy = tmp_path / "fresh"
    copy.mkdir()
    shutil.copy(folder / "documents.sqlite", copy)
    store = HybridDocumentStore(copy)
    found = answers(store)
    store.close()
    return found


def files_of(folder):
    paths = (path for name in ("keywords", "vectors") for path in (folder / name).rglob("*") if path.is_file())
    return sorted(path.relative_to(folder) for path in paths)


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position // 8] ^= 1 << position % 8
    path.write_bytes(data)


def from_the_future(path):
    if path.name == "state.json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    else:
        path.write_bytes(path.read_bytes().replace(b'"minor":27', b'"minor":99').replace(b"_version", b"_VERSION"))


DAMAGES = {
    "deleted": lambda path, older, chance: path.unlink(),
    "emptied": lambda path, older, chance: path.write_bytes(b""),
    "cut": lambda path, older, chance: path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3]),
    "one bit flipped": lambda path, older, chance: flip(path, chance.randrange(8 * path.stat().st_size)),
    "from an older backup": lambda path, older, chance: shutil.copy(older, path),
    "from the future": lambda path, older, chance: from_the_future(path),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_l6_whatever_happens_to_one_file_the_answer_is_whole(stages, tmp_path, damage, patched):
    expected = fresh_answers(stages / "index", tmp_path)
    chance = random.Random(17)
    names = files_of(stages / "index")
    assert {name.suffix for name in names} >= {".fast", ".idx", ".term", ".del", ".faiss", ".npy", ".json"}
    possible = {
        "one bit flipped": lambda name: (stages / "index" / name).stat().st_size > 0,
        "from an older backup": lambda name: (stages / "older" / name).exists(),
    }
    names = list(filter(possible.get(damage, lambda name: True), names))
    assert names
    for name in names:
        folder = tmp_path / "damaged"
        shutil.copytree(stages / "index", folder)
        DAMAGES[damage](folder / name, stages / "older" / name, chance)
        store = HybridDocumentStore(folder)
        try:
            assert answers(store) == expected, name
        except IndexFormatError:
            with pytest.raises(IndexFormatError, match=r"has format.*upgrade rerank-plugin, or delete"):
                answers(store)
        else:
            store.write_documents([Document(id="new", content="new fox", embedding=[1.0, 1.0, 1.0])])
            assert [d.id for d in store.bm25_retrieval("new")] == ["new"]
        store.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "pattern", ["keywords/*/*.fast", "keywords/*/*.idx", "vectors/auto/*/*.npy", "vectors/auto/*/*.faiss"]
)
def test_l6_one_flipped_bit_is_noticed_and_logged(index, tmp_path, pattern, caplog, patched):
    expected = fresh_answers(index, tmp_path)
    for path in index.glob(pattern):
        flip(path, 8 * (path.stat().st_size // 3))
    store = HybridDocumentStore(index)
    with caplog.at_level(logging.WARNING):
        assert answers(store) == expected
    assert "damaged and will be built again" in caplog.text
    store.close()
    caplog.clear()
    assert answers(HybridDocumentStore(index)) == expected
    assert "damaged" not in caplog.text, "once is enough"


@pytest.mark.parametrize("suffix", ["fast", "idx", "term", "pos", "fieldnorm"])
def test_s3_a_keyword_file_of_another_index_is_noticed(tmp_path, suffix, caplog):
    """It has a correct checksum of its own, and was believed: searches returned other documents, or none."""
    for name, text in [("mine", "fox {} runs"), ("other", "one two hen {}")]:
        with HybridDocumentStore(tmp_path / name) as store:
            store.write_documents([Document(id=f"{i:02}", content=text.format(i)) for i in range(30)])
    (theirs,) = (tmp_path / "other").rglob(f"*.{suffix}")
    (mine,) = (tmp_path / "mine").rglob(f"*.{suffix}")
    shutil.copyfile(theirs, mine)
    with HybridDocumentStore(tmp_path / "mine") as store:
        assert len(store.bm25_retrieval("fox", top_k=100)) == 30
        assert ids(store.bm25_retrieval("7")) == ["07"]
    assert "is of another index, or from a backup" in caplog.text


def test_every_file_is_read_once_and_again_only_if_it_changes(index, monkeypatch, patched):
    read = []
    original = DerivedFiles.checksum_of
    monkeypatch.setattr(
        DerivedFiles,
        "checksum_of",
        lambda self, path, **o: read.append(path not in self._verified) or original(self, path, **o),
    )
    store = HybridDocumentStore(index)
    answers(store)
    assert all(read)
    assert read
    first = len(read)
    store.write_documents([Document(id="new", content="new fox")])
    answers(store)
    assert sum(read) < first + 10, "the files of one new segment"


def test_no_thread_of_the_keyword_index_writes_into_its_folder(index, patched):
    """tantivy's watcher reloaded changed files, and made a lock in a folder that was being deleted."""
    (generation,) = (index / "keywords").glob("generation-*")
    lock, meta = generation / ".tantivy-meta.lock", generation / "meta.json"

    def is_made_again():
        lock.unlink(missing_ok=True)
        meta.write_bytes(meta.read_bytes() + b" ")
        deadline = time.monotonic() + 1.2  # the watcher looks twice a second
        while time.monotonic() < deadline:
            if lock.exists():
                return True
            time.sleep(0.01)
        return False

    with HybridDocumentStore(index) as store:
        store.bm25_retrieval("fox")
        # Opening starts a single reload in the background, which a busy machine may come to after the first look.
        assert not all(is_made_again() for _ in range(2))


def kill_between_commit_and_state(folder):
    """A process is killed after tantivy's commit and before the state is replaced."""
    code = """
        import os, sys
        from haystack import Document
        from rerank_plugin.store import HybridDocumentStore
        from rerank_plugin.store.derived_files import DerivedFiles
        DerivedFiles.publish = lambda *_: os._exit(9)
        store = HybridDocumentStore(sys.argv[1])
        store.write_documents([Document(id="new", content="new fox", embedding=[1.0, 1.0, 1.0])])
        store.delete_documents(["00030"])
        store.bm25_retrieval("fox")
    """
    with run_python(code, folder) as process:
        pass
    assert process.returncode == 9


def test_an_interrupted_update_is_replayed_without_a_rebuild(index, caplog, patched):
    (before,) = (index / "keywords").glob("generation-*")
    kill_between_commit_and_state(index)
    store = HybridDocumentStore(index)
    assert ids(store.bm25_retrieval("fox new", top_k=100)) == [*(f"{i:05}" for i in range(8, 60) if i != 30), "new"]
    assert "damaged" not in caplog.text
    assert list((index / "keywords").glob("generation-*")) == [before]


@pytest.mark.parametrize("where", ["keywords", "vectors/auto"])
def test_l5_what_others_keep_under_our_names_is_never_deleted(tmp_path, where, patched, caplog):
    """A user's folder `keywords/en` was mistaken for an index and deleted by the first search."""
    store = HybridDocumentStore(tmp_path)
    store.write_documents(make_documents(0, 30))
    mine = tmp_path / where / "en" / "list.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("my words")
    (tmp_path / where / "state.json").write_text('{"of": "something else"}')
    if where == "keywords":
        with pytest.raises(StoreError, match=r"keywords holds 'en', which the keyword index did not make: move it away"):
            store.bm25_retrieval("fox")
        with pytest.raises(StoreError, match="nothing was deleted"):
            store.close()
    assert ids(store.embedding_retrieval([1.0, 0.0, 0.0], top_k=99)) == ids(make_documents(0, 30))
    if where != "keywords":
        store.close()
        assert "stays in memory, as it cannot be saved" in caplog.text
    assert mine.read_text() == "my words"
    assert (tmp_path / where / "state.json").read_text() == '{"of": "something else"}'


def test_l5_a_file_beside_our_generations_stays(index, patched):
    (index / "keywords" / "notes.txt").write_text("mine")
    (index / "keywords" / "drafts").mkdir()
    flip(next((index / "keywords").glob("*/*.fast")), 9)
    store = HybridDocumentStore(index)
    assert len(store.bm25_retrieval("fox", top_k=100)) == 52
    assert (index / "keywords" / "notes.txt").read_text() == "mine"
    assert (index / "keywords" / "drafts").is_dir()
    assert len(list((index / "keywords").glob("generation-*"))) == 1


def test_a_file_in_the_place_of_the_keyword_folder_is_an_error(tmp_path):
    store = HybridDocumentStore(tmp_path)
    store.write_documents(make_documents(0, 3))
    (tmp_path / "keywords").write_text("mine")
    with pytest.raises(StoreError, match=r"keywords.*move the file of that name away"):
        store.bm25_retrieval("fox")
    assert (tmp_path / "keywords").read_text() == "mine"
    (tmp_path / "keywords").unlink()
    check_whole(store, ids(make_documents(0, 3)))
    store.close()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs resource limits and /proc")
def test_t14_too_many_open_files_is_no_damage(index, patched):
    """Formerly the index was reset, and the error called it damaged."""
    code = """
        import os, resource, sys
        import faiss, tantivy
        from rerank_plugin.errors import StoreError
        from rerank_plugin.store import HybridDocumentStore
        from rerank_plugin.store.vectors import kinds
        import rerank_plugin.store.keywords.tantivy_index, Stemmer
        kinds.FLAT_FILE_FROM = 10
        store = HybridDocumentStore(sys.argv[1])
        store.count_documents()
        store.filter_documents()
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        for spare in range(0, 12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            for search in (lambda: store.bm25_retrieval("fox"), lambda: store.embedding_retrieval([1.0, 0.0, 0.0])):
                try:
                    print(len(search()))
                except StoreError as error:
                    print(error)
    """
    before = {path: path.stat().st_mtime_ns for path in index.rglob("*") if path.is_file() and path.parent.name != "index"}
    with run_python(code, index) as process:
        lines = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert any("ulimit -n" in line for line in lines), lines
    assert not any("damaged" in line for line in lines), lines
    assert lines[-2:] == ["10", "10"]
    after = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    assert after == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user who may not do everything")
def test_t14_a_file_without_the_right_to_read_it_is_no_damage(index, patched):
    (path,) = (index / "keywords").glob("*/meta.json")
    path.chmod(0)
    store = HybridDocumentStore(index)
    with pytest.raises(StoreError, match="permission to read"):
        store.bm25_retrieval("fox")
    path.chmod(0o644)
    assert len(store.bm25_retrieval("fox", top_k=100)) == 52


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free disk space"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission to read"),
        (ValueError("An IO error occurred: 'Too many open files (os error 24)'"), "ulimit -n"),
        (ValueError('IoError { io_error: Os { code: 24, kind: TooManyOpenFiles, message: "..." } }'), "ulimit -n"),
        (RuntimeError("could not open x.faiss for reading: Too many open files"), "ulimit -n"),
        (ValueError("Data corrupted: 'Managed file cannot be deserialized'"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (ValueError('IoError { io_error: Os { code: 2, kind: NotFound, message: "..." } }'), None),
    ],
)
def test_t14_what_the_machine_refuses_is_told_from_damage(error, expected):
    remedy = environment_failure(error)
    assert remedy is None if expected is None else expected in remedy and remedy.endswith("; the documents are safe")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            sqlite3.OperationalError("database or disk is full"),
            "cannot be written .*: free disk space; nothing of this",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be written .*: free disk space; nothing of this"),
        (
            sqlite3.OperationalError("attempt to write a readonly database"),
            "cannot be written .*: give this user permission",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be opened .*: give this user permission"),
        (OSError(errno.EMFILE, "Too many open files"), "cannot be opened .*too many open files.*ulimit -n"),
        (sqlite3.OperationalError("database is locked"), "is busy"),
        (sqlite3.DatabaseError("file is not a database"), "is damaged"),
        (sqlite3.OperationalError("unable to open database file"), "cannot be used: unable to open"),
    ],
)
def test_what_the_database_refuses_is_explained(error, expected):
    assert re.match(expected, explain(error))


SLOW_BUILDER = """
    import sys
    from rerank_plugin.store import HybridDocumentStore
    from rerank_plugin.store.keywords.tantivy_index import TantivyIndex
    original = TantivyIndex._documents
    paused = []
    def documents(self, database, since):
        for document in original(self, database, since):
            yield document
            if not paused:
                paused.append(True)
                print("building", flush=True)
                sys.stdin.readline()
    TantivyIndex._documents = documents
    store = HybridDocumentStore(sys.argv[1])
    print(*sorted(d.id for d in store.bm25_retrieval("fox", top_k=1000)), flush=True)
    store.close()
"""


@pytest.mark.slow
def test_t8_others_write_while_the_keyword_index_is_built(tmp_path):
    """Formerly a build held the lock on the database, and writers in other processes failed after 60 s."""
    store = HybridDocumentStore(tmp_path)
    store.write_documents(make_documents(0, 20))
    with run_python(SLOW_BUILDER, tmp_path) as builder:
        assert builder.stdout.readline() == "building\n"
        connection = sqlite3.connect(tmp_path / "documents.sqlite", timeout=0, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")  # raises at once if the lock is held
        connection.execute("ROLLBACK")
        connection.close()
        store.write_documents(make_documents(20, 5))
        store.delete_documents(["00003"])
        builder.stdin.write("\n")
        builder.stdin.flush()
        expected = [f"{i:05}" for i in range(25) if i != 3]
        assert builder.stdout.readline().split() == expected, "what was written meanwhile is in it"
    assert builder.returncode == 0
    check_whole(store, expected)
    assert len(list((tmp_path / "keywords").glob("generation-*"))) == 1
    store.close()


@pytest.mark.slow
def test_t8_a_build_begins_again_if_all_was_deleted_meanwhile(tmp_path):
    store = HybridDocumentStore(tmp_path)
    store.write_documents(make_documents(0, 20))
    with run_python(SLOW_BUILDER, tmp_path) as builder:
        assert builder.stdout.readline() == "building\n"
        store.delete_all_documents()
        store.write_documents(make_documents(30, 4))
        builder.stdin.write("\n")
        builder.stdin.flush()
        expected = ids(make_documents(30, 4))
        assert builder.stdout.readline().split() == expected
    check_whole(store, expected)
    store.close()


def test_a_lock_file_with_something_in_it_is_no_obstacle(tmp_path):
    store = HybridDocumentStore(tmp_path)
    store.write_documents(make_documents(0, 3))
    (tmp_path / "keywords").mkdir()
    (tmp_path / "keywords" / "build.lock").write_bytes(b"no database at all, but long enough to be taken for one" * 99)
    check_whole(store, ids(make_documents(0, 3)))
    store.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_read_only_index_without_keywords_is_searched_in_memory(tmp_path):
    """Also if the keyword index is damaged and cannot be replaced."""
    code = """
        import os, sys
        import faiss, tantivy, Stemmer
        from rerank_plugin.store import HybridDocumentStore
        import rerank_plugin.store.keywords.tantivy_index
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        store = HybridDocumentStore(sys.argv[1])
        print(len(store.bm25_retrieval("fox", top_k=99)), len(store.bm25_retrieval("number 7", top_k=99)))
        store.close()
    """
    import tempfile
    from pathlib import Path

    root = Path(tempfile.mkdtemp())  # pytest's folders are not accessible to other users
    try:
        for name in ("none", "damaged"):
            store = HybridDocumentStore(root / name)
            store.write_documents(make_documents(0, 10))
            store.close()
        shutil.rmtree(root / "none" / "keywords")
        flip(next((root / "damaged" / "keywords").glob("*/*.fast")), 9)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        for name in ("none", "damaged"):
            with run_python(code, root / name) as reader:
                assert reader.stdout.read() == "10 10\n"
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(root)


def test_an_index_that_is_ahead_of_the_database_is_built_again(stages, tmp_path, patched):
    """The database of a backup beside newer derived files."""
    folder = shutil.copytree(stages / "index", tmp_path / "index")
    shutil.copy(stages / "older" / "documents.sqlite", folder / "documents.sqlite")
    with pytest.raises(StoreError, match="delete everything else in the folder"):
        answers(HybridDocumentStore(folder))
    (folder / "documents.ledger").unlink()
    assert answers(HybridDocumentStore(folder)) == fresh_answers(stages / "older", tmp_path)
