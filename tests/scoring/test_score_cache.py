import sqlite3
import threading

import pytest

from rerank_plugin.errors import InvalidValueError, ScoreCacheError
from rerank_plugin.scoring.cache import ScoreCache, score_key
from rerank_plugin.scoring.score_stores import CachedScore
from rerank_plugin.scoring.types import Window


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path):
    return "memory" if request.param == "memory" else tmp_path / "deep" / "scores.sqlite"


class Counting:
    """Computes scores that can be told apart, and remembers for what it was asked."""

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


def test_of_too_many_the_ones_not_used_for_longest_go(place):
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


def test_a_file_that_is_no_cache_is_an_error(tmp_path):
    (tmp_path / "text").write_text("not a database" * 100)
    with pytest.raises(ScoreCacheError, match=r"text.*give another file"):
        ScoreCache(tmp_path / "text", size=10)
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE documents (id TEXT)")
    connection.close()
    with pytest.raises(ScoreCacheError, match=r"no score cache.*give another file"):
        ScoreCache(tmp_path / "other.sqlite", size=10)


def test_a_size_below_one_is_an_error():
    with pytest.raises(InvalidValueError, match="score_cache_size"):
        ScoreCache("memory", size=0)
