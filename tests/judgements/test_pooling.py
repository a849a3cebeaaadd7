"""Pools: the hits of several pipelines and of both stages, once each, blind or by rank."""

from haystack import Document

from rerank_plugin.judgements.pooling import pool
from rerank_plugin.results import Hit, SearchResult


def result(*names, first=None):
    hits = []
    for rank, name in enumerate(names, start=1):
        first_rank = None if first is None else first.index(name) + 1
        meta = {} if first is None else {"first_stage_rank": first_rank, "first_stage_score": 1.0, "reranked": True}
        hits.append(Hit(Document(id=name, content=name, meta=meta | {"page": 3}, score=1 / rank), rank, first_rank))
    return SearchResult(hits, {})


def test_the_best_of_each_stage_of_each_pipeline_once():
    hits = pool(
        "q",
        {"one": result("a", "b", "c", "d", first=["d", "c", "b", "a"]), "two": result("e", "a", "x", "y")},
        depth=2,
    )
    assert [hit.document.id for hit in hits] == ["a", "d", "e", "b", "c"]
    assert hits[0].stages == {"one": {"rank": 1, "score": 1.0, "first_stage_rank": 4}, "two": {"rank": 2, "score": 0.5}}
    assert all(hit.document.meta == {"page": 3} and hit.document.score is None for hit in hits)


def test_a_blind_order_is_the_same_whoever_found_the_hits_and_tells_nothing():
    names = [f"d{number}" for number in range(10)]
    one = [hit.document.id for hit in pool("q", {"one": result(*names)}, blind=True)]
    assert one == [hit.document.id for hit in pool("q", {"two": result(*reversed(names))}, blind=True)]
    assert one != names
    assert sorted(one) == names
    assert one != [hit.document.id for hit in pool("another", {"one": result(*names)}, blind=True)]
