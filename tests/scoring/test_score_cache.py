import os
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from forked_child import in_child

from rerank_plugin.errors import InvalidValueError, ScoreCacheError
from rerank_plugin.scoring.cache import ScoreCache, score_key
from rerank_plugin.scoring.limits import CallLimits, ScoringStoppedError
from rerank_plugin.scoring.score_stores import CachedScore
from rerank_plugin.scoring.types import Window


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path):
    return "memory" if request.param == "memory" else tmp_path / "deep" / "scores.sqlite"


class Counting:
    """Computes distinct scores, and records its calls."""

    def __init__(self):
        self.asked = []

    def __call__(self, wanted):
        self.asked.append(list(wanted))
        return {key: CachedScore(float(key[0]), Window(1, 2, 3) if key[0] % 2 else None) for key in wanted}


def keys(count):
    return [bytes([number]) * 16 for number in range(count)]


def test_a_score_is_computed_once(place):
    cache, compute = ScoreCache(place, size=10), Counting()
    first = cache.get_or_compute(keys(4), compute)
    assert cache.get_or_compute(keys(4), compute) == first
    assert compute.asked == [keys(4)]
    assert len(cache) == 4
    assert first[keys(2)[1]] == CachedScore(1.0, Window(1, 2, 3))


def test_a_key_that_occurs_twice_is_computed_once(place):
    cache, compute = ScoreCache(place, size=10), Counting()
    (key,) = keys(1)
    assert cache.get_or_compute([key, key], compute) == {key: CachedScore(0.0, None)}
    assert compute.asked == [[key]]


def test_the_least_recently_used_scores_are_dropped(place):
    cache, compute = ScoreCache(place, size=3), Counting()
    all_keys = keys(4)
    cache.get_or_compute(all_keys[:3], compute)
    cache.get_or_compute(all_keys[:1], compute)
    cache.get_or_compute(all_keys[3:], compute)
    assert len(cache) == 3
    cache.get_or_compute(all_keys[:1], compute)
    assert len(compute.asked) == 2
    cache.get_or_compute(all_keys[1:3], compute)
    assert sum(map(len, compute.asked)) > 4


def test_more_scores_than_the_cache_holds_are_all_returned(place):
    scores = ScoreCache(place, size=2).get_or_compute(keys(5), Counting())
    assert [scores[key].logit for key in keys(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_file_keeps_scores_for_the_next_process(tmp_path):
    file, compute = tmp_path / "scores.sqlite", Counting()
    cache = ScoreCache(file, size=10)
    scores = cache.get_or_compute(keys(3), compute)
    cache.close()
    assert ScoreCache(file, size=10).get_or_compute(keys(3), compute) == scores
    assert len(compute.asked) == 1


def test_callers_that_miss_the_same_score_at_once_compute_it_once(place):
    cache, started, go = ScoreCache(place, size=10), threading.Event(), threading.Event()
    computed, results = [], []

    def slow(wanted):
        computed.append(list(wanted))
        started.set()
        assert go.wait(10)
        return {key: CachedScore(7.0, None) for key in wanted}

    def call():
        results.append(cache.get_or_compute(keys(2), slow))

    threads = [threading.Thread(target=call) for _ in range(5)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert computed == [keys(2)]
    assert results == [dict.fromkeys(keys(2), CachedScore(7.0, None))] * 5


def test_when_computing_fails_the_next_caller_computes(place):
    cache = ScoreCache(place, size=10)

    def broken(wanted):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.get_or_compute(keys(2), broken)
    assert len(cache.get_or_compute(keys(2), Counting())) == 2


@pytest.mark.parametrize(
    "other",
    [("model2", "query", "text"), ("model", "query2", "text"), ("model", "query", "text2"), ("model", "querytext", "")],
)
def test_keys_of_different_scores_differ(other):
    assert score_key(*other) != score_key("model", "query", "text")
    assert score_key("m", "ab", "c") != score_key("m", "a", "bc")


def test_a_file_that_is_not_a_cache_is_an_error(tmp_path):
    (tmp_path / "text").write_text("not a database" * 100)
    with pytest.raises(ScoreCacheError, match=r"text.*set score_cache to another file"):
        ScoreCache(tmp_path / "text", size=10)
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE documents (id TEXT)")
    connection.close()
    with pytest.raises(ScoreCacheError, match=r"not a score cache.*set score_cache to another file"):
        ScoreCache(tmp_path / "other.sqlite", size=10)


def test_a_size_below_one_is_an_error():
    with pytest.raises(InvalidValueError, match="score_cache_size"):
        ScoreCache("memory", size=0)


def test_l16_half_a_batch_is_not_kept_when_writing_fails(tmp_path, caplog):
    cache = ScoreCache(tmp_path / "scores.sqlite", size=10)
    good, bad = keys(2)

    def compute(wanted):
        return {good: CachedScore(1.0, None), bad: CachedScore("no number" if wanted else 0.0, Window([], 1))}

    scores = cache.get_or_compute([good, bad], compute)
    assert scores[good].logit == 1.0  # the scores have been computed anyway
    assert "cannot be written to" in caplog.text
    assert len(cache) == 0
    assert len(cache.get_or_compute([good, bad], Counting())) == 2
    assert len(cache) == 2


def test_l16_a_closed_cache_says_so(tmp_path):
    cache = ScoreCache(tmp_path / "scores.sqlite", size=10)
    cache.close()
    cache.close()
    with pytest.raises(ScoreCacheError, match="is closed"):
        cache.get_or_compute(keys(1), Counting())
    with pytest.raises(ScoreCacheError, match="is closed"):
        len(cache)


def test_l16_a_file_that_is_damaged_while_it_is_open_says_so(tmp_path):
    file = tmp_path / "scores.sqlite"
    cache = ScoreCache(file, size=1000)
    cache.get_or_compute(
        [n.to_bytes(16, "big") for n in range(1000)], lambda wanted: dict.fromkeys(wanted, CachedScore(1.0, None))
    )
    cache.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(ScoreCacheError, match="delete it, or set score_cache to another file"):
        ScoreCache(file, size=10).get_or_compute([n.to_bytes(16, "big") for n in range(1000)], Counting())


def test_l16_a_row_that_is_damaged_says_so(tmp_path):
    file = tmp_path / "scores.sqlite"
    cache = ScoreCache(file, size=10)
    cache.get_or_compute(keys(2), Counting())
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE scores SET logit = 'no number'")
    connection.close()
    with pytest.raises(ScoreCacheError, match="cannot be read"):
        cache.get_or_compute(keys(2), Counting())


def test_l16_a_hit_writes_nothing(tmp_path):
    file = tmp_path / "scores.sqlite"
    cache = ScoreCache(file, size=10)
    cache.get_or_compute(keys(3), Counting())
    other = sqlite3.connect(file)
    before = other.execute("PRAGMA data_version").fetchone()
    other.execute("BEGIN IMMEDIATE")  # a write would now have to wait, and then fail
    assert len(cache.get_or_compute(keys(3), Counting())) == 3
    other.execute("COMMIT")
    assert other.execute("PRAGMA data_version").fetchone() == before
    other.close()


def test_use_is_recorded_with_the_next_score(tmp_path):
    """The least recently used score is dropped, even if it was used by a process that has ended."""
    file, all_keys = tmp_path / "scores.sqlite", keys(4)
    first = ScoreCache(file, size=3)
    first.get_or_compute(all_keys[:3], Counting())
    first.get_or_compute(all_keys[:1], Counting())
    first.close()
    second, compute = ScoreCache(file, size=3), Counting()
    second.get_or_compute(all_keys[3:], compute)
    second.get_or_compute(all_keys[:1], compute)
    assert compute.asked == [all_keys[3:]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("folder_too", [False, True])
def test_l16_a_read_only_cache_serves_what_it_has(folder_too):
    """In an unprivileged child process: root may write everywhere."""
    with tempfile.TemporaryDirectory(prefix="read-only-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "scores.sqlite"
        cache = ScoreCache(file, size=10)
        cache.get_or_compute(keys(3), Counting())
        cache.close()
        file.chmod(0o444)
        folder.chmod(0o555 if folder_too else 0o777)

        def child():
            if os.geteuid() == 0:
                os.setuid(65534)
            compute = Counting()
            reading = ScoreCache(file, size=10)
            assert len(reading.get_or_compute(keys(5), compute)) == 5
            assert compute.asked == [keys(5)[3:]]
            assert len(reading) == 3
            reading.close()

        assert in_child(child) == "None"
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_l16_a_forked_child_has_its_own_connection_and_locks(tmp_path):
    file = tmp_path / "scores.sqlite"
    cache = ScoreCache(file, size=100)
    cache.get_or_compute(keys(2), Counting())
    with cache._lock:  # as another thread of the parent may hold it during the fork

        def child():
            compute = Counting()
            assert len(cache.get_or_compute(keys(4), compute)) == 4
            assert compute.asked == [keys(4)[2:]]
            cache.close()

        assert in_child(child) == "None"
    compute = Counting()
    cache.get_or_compute(keys(4), compute)
    cache.get_or_compute(keys(6), compute)
    cache.close()
    assert compute.asked == [keys(6)[4:]]
    assert len(ScoreCache(file, size=100)) == 6
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_l16_processes_share_a_cache(tmp_path):
    file = tmp_path / "scores.sqlite"

    def write(start):
        cache = ScoreCache(file, size=1000)
        for number in range(start, start + 40):
            cache.get_or_compute([number.to_bytes(16, "big")], lambda wanted: dict.fromkeys(wanted, CachedScore(1.0, None)))
        cache.close()

    children = []
    for start in (0, 20, 40):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                write(start)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    compute = Counting()
    cache = ScoreCache(file, size=1000)
    assert len(cache.get_or_compute([n.to_bytes(16, "big") for n in range(80)], compute)) == 80
    assert len(compute.asked) <= 1  # a score that could not be written in time may be missing
    cache.close()


def test_an_older_cache_is_emptied_and_a_newer_one_refused(tmp_path):
    file = tmp_path / "scores.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE scores (key BLOB PRIMARY KEY, logit REAL)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    cache = ScoreCache(file, size=10)
    assert len(cache) == 0
    cache.close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ScoreCacheError, match="not a score cache of this version"):
        ScoreCache(file, size=10)


def test_a_call_with_a_deadline_never_waits(place):
    cache, started, go = ScoreCache(place, size=10), threading.Event(), threading.Event()

    def slow(wanted):
        started.set()
        assert go.wait(10)
        return {key: CachedScore(7.0, None) for key in wanted}

    thread = threading.Thread(target=lambda: cache.get_or_compute(keys(2), slow))
    thread.start()
    assert started.wait(10)
    compute = Counting()
    assert len(cache.get_or_compute(keys(2), compute, CallLimits(60.0))) == 2
    go.set()
    thread.join(10)
    assert compute.asked == [keys(2)]


def test_a_caller_that_waits_for_another_one_can_be_cancelled(place):
    cache, started, go = ScoreCache(place, size=10), threading.Event(), threading.Event()

    def slow(wanted):
        started.set()
        assert go.wait(10)
        return {key: CachedScore(7.0, None) for key in wanted}

    thread = threading.Thread(target=lambda: cache.get_or_compute(keys(2), slow))
    thread.start()
    assert started.wait(10)
    with pytest.raises(ScoringStoppedError):
        cache.get_or_compute(keys(2), Counting(), CallLimits(should_stop=lambda: True))
    go.set()
    thread.join(10)
