"""`rerank judge`: keys in a real terminal, and lines of JSON."""

import io
import json
import os
import subprocess
import sys
import threading

import pytest
from conftest import SENTENCES
from haystack import Document

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.judgements.judgements import Judgements
from rerank_plugin.store import HybridDocumentStore

HOSTILE = "a\x1b[2J\x9b31m\u202eb"


@pytest.fixture
def index(tmp_path):
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents([Document(id=f"d{n}", content=f"{text} fox") for n, text in enumerate(SENTENCES)])
    (tmp_path / "queries.txt").write_text("old fox\ncapital fox\nblue fox\n")
    return tmp_path / "index"


@pytest.fixture
def feed(monkeypatch):
    """Standard input with given lines."""
    return lambda *lines: monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(map(json.dumps, lines))))


def grades(index, query):
    judgements = Judgements.open(index)
    try:
        return {grade.document_id: (grade.grade, grade.judge) for grade in judgements.grades(query)}
    finally:
        judgements.close()


def test_lines_of_json_are_answered_one_by_one(rerank, index, feed):
    feed(
        {"pool": "red fox"},
        {"query": "red fox", "document_id": "d2", "grade": 3},
        {"query": "red fox", "document_id": "d1", "grade": 0, "judge": "bert", "shown": {"rank": 2}},
        {"query": "red fox", "document_id": "d2", "grade": 2, "weak": True},
        {"undo": True, "judge": "bert"},
        {"undo": True, "judge": "bert"},
    )
    done = rerank("judge", index, "--pipeline", "bm25", "--judge", "anna", "--json", "--depth", 3)
    assert done.returncode == 0, done.stderr
    pool, *recorded = map(json.loads, done.stdout.splitlines())
    assert [hit["stages"]["bm25"]["rank"] for hit in pool["hits"]] == [1, 2, 3]
    assert [line.get("grade") for line in recorded[:3]] == [3, 0, 2]
    assert recorded[3]["undone"]["document_id"] == "d1"
    assert recorded[4] == {"undone": None}
    assert "1 of 1 queries judged" in done.stderr
    assert grades(index, "red fox") == {"d2": (3, "anna")}


def test_a_wrong_line_is_named_and_what_came_before_is_kept(rerank, index, feed):
    good = {"query": "red fox", "document_id": "d2", "grade": 3}
    for wrong, message in (
        ({"query": "red fox", "document_id": "none", "grade": 1}, "there is no document 'none'"),
        ({"query": "red fox", "grade": 1}, "lacks document_id"),
        ({**good, "color": 1}, "has the unknown field 'color'"),
        ([], "must be an object"),
    ):
        feed(good, wrong)
        done = rerank("judge", index, "--judge", "anna", "--json")
        assert done.returncode == 1
        assert f"error: line 2 of the input: {message}" in done.stderr
        assert len(done.stdout.splitlines()) == 1
    assert grades(index, "red fox") == {"d2": (3, "anna")}


def test_queries_import_and_export(rerank, index, collection, tmp_path, feed):
    feed()
    done = rerank("judge", index, "--queries", tmp_path / "queries.txt", "--set", "mine")
    assert done.returncode == 0, done.stderr
    assert "3 of the 3 queries in" in done.stderr
    assert "0 of 3 queries judged" in done.stdout
    done = rerank("judge", index, "--import", collection, "--export", tmp_path / "out", "--judge", "tiny")
    assert done.returncode == 0, done.stderr
    assert "4 judgements of 4 queries imported" in done.stderr
    assert "4 of 7 queries judged" in done.stdout
    exported = BeirDataset(tmp_path / "out")
    assert {**exported.qrels("dev"), **exported.qrels("test")} == BeirDataset(collection).qrels("test")


def test_without_a_terminal_or_queries_it_says_what_to_do(rerank, index, feed, tmp_path):
    feed()
    assert "needs a terminal: pass --json" in rerank("judge", index).stderr
    done = rerank("judge", tmp_path / "none")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "holds no index to judge" in done.stderr


class Terminal:
    """A `rerank` at work in a real terminal of a given size."""

    def __init__(self, *arguments, columns=100):
        import fcntl
        import pty
        import struct
        import termios

        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rerank_plugin", *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.screen = ""
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            with self._changed:
                self.screen += data.decode(errors="replace")
                self._changed.notify_all()
            if not data:
                return

    def wait_for(self, text, count=1):
        with self._changed:
            assert self._changed.wait_for(lambda: self.screen.count(text) >= count, timeout=120), self.screen

    def press(self, keys):
        os.write(self._master, keys.encode())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pty")
def test_a_key_in_a_real_terminal_is_a_grade(index, tmp_path):
    with HybridDocumentStore(index) as store:
        store.write_documents([Document(id="evil", content=f"{HOSTILE} evil fox " + "line\n" * 40, meta={"title": HOSTILE})])
    (tmp_path / "queries.txt").write_text("evil fox\ncapital fox\n")
    terminal = Terminal(
        *("judge", index, "--queries", tmp_path / "queries.txt", "--pipeline", "bm25", "--depth", 3, "--judge", "anna")
    )
    terminal.wait_for("1 of 3  ")
    terminal.wait_for("more lines: v shows the whole text")
    terminal.press("v")
    terminal.press("3")
    terminal.wait_for("3, answers it")
    terminal.wait_for("2 of 3  ")
    terminal.press("1")
    terminal.wait_for("3 of 3  ")
    terminal.press("u")
    terminal.wait_for("undone: judge it again")
    terminal.wait_for("2 of 3  ", count=2)
    terminal.press("x")
    terminal.press("0s")
    terminal.wait_for("capital fox")
    terminal.press("2")
    terminal.wait_for("2, relevant")
    terminal.press("й")  # q on a Russian keyboard
    terminal.wait_for("3 grades given")
    terminal.wait_for("2 of 2 queries judged")
    assert terminal.process.wait(timeout=60) == 0, terminal.screen
    assert sorted(grade for grade, _ in grades(index, "evil fox").values()) == [0, 3]
    assert grades(index, "evil fox")["evil"] == (3, "anna")
    assert "\x9b" not in terminal.screen
    assert "\x1b[2J" not in terminal.screen
    assert "\u202e" not in terminal.screen
