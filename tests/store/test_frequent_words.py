"""Frequent terms are scored in a second step; the result is the same as without it."""

import json
import random

import pytest
from haystack import Document
from haystack.document_stores.types import DuplicatePolicy
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.keywords import frequent, tantivy_index, tantivy_search
from rerank_plugin.store.keywords.frequent import rounded_length

WORDS = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(300)]
# As in natural language: the first words are in nearly every document, the last ones in hardly any.
SHARES = [1 / (i + 1) for i in range(300)]


def make_documents(count, seed, first=0):
    chance = random.Random(seed)
    return [
        Document(
            id=f"{first + i:05}",
            content=" ".join(chance.choices(WORDS, SHARES, k=chance.choice([3, 12, 30, 80, 200]))),
            meta={"half": i % 2},
        )
        for i in range(count)
    ]


def ranking(store, query, **parameters):
    return [(document.id, document.score) for document in store.bm25_retrieval(query, **parameters)]


def check_same(found, expected):
    """Assert equal scores in the same order; documents may swap places only if their scores differ by rounding."""
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-5)
    scores = dict(expected)
    for key, score in found:
        if key in scores:
            assert score == pytest.approx(scores[key], rel=1e-5)
        else:
            assert score == pytest.approx(expected[-1][1], rel=1e-5)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two stores with the same documents, some written, changed or deleted later; the first has frequency columns."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        for fewest in (500, 10**9):
            patch.setattr(frequent, "MIN_DOCUMENTS", fewest)
            patch.setattr(tantivy_index, "MIN_DOCUMENTS", fewest)
            store = HybridDocumentStore(tmp_path_factory.mktemp("index"))
            store.write_documents(make_documents(3000, seed=1))
            store.warm_up()
            store.write_documents(make_documents(400, seed=2, first=2900), policy=DuplicatePolicy.OVERWRITE)
            store.delete_documents([f"{i:05}" for i in range(0, 600, 2)])
            store.warm_up()
            made.append(store)
    return made


def state_of(folder):
    return json.loads((folder / "keywords" / "state.json").read_text())


def columns(store):
    return state_of(store.path)["columns"]


@pytest.mark.slow
def test_the_words_are_chosen_by_themselves(stores):
    kept, plain = map(columns, stores)
    assert "waa" in kept
    assert len(kept) <= 64
    assert plain == {}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_result_is_the_same(stores, data):
    numbers = st.lists(st.integers(0, 40) | st.integers(0, 299), min_size=1, max_size=9)
    query = " ".join(WORDS[i] for i in data.draw(numbers))
    top_k = data.draw(st.sampled_from([1, 3, 10, 100]))
    filters = data.draw(st.sampled_from([None, {"field": "meta.half", "operator": "==", "value": 1}]))
    with pytest.MonkeyPatch.context() as patch:
        # Filters are applied to the best hits, or their rows are looked up: both must give the same result.
        patch.setattr(tantivy_search, "_MAX_POST_FILTERED", data.draw(st.sampled_from([0, 10_000])))
        found, expected = (ranking(store, query, top_k=top_k, filters=filters) for store in stores)
    check_same(found, expected)


@pytest.mark.parametrize("query", ["+waa wcz wdb", "waa -wab wda", '"waa wab" wcc wcd', "waa wab wac", "+wdz waa"])
def test_the_result_is_the_same_with_operators(stores, query):
    found, expected = (ranking(store, query, operators=True, top_k=50) for store in stores)
    check_same(found, expected)


def test_fewer_documents_are_looked_at(stores, monkeypatch):
    """The search for the documents does not use the frequent words."""
    asked = []
    original = tantivy_search._any_of
    monkeypatch.setattr(tantivy_search, "_any_of", lambda schema, terms: asked.append(set(terms)) or original(schema, terms))
    stores[0].bm25_retrieval("waa wca wcb wdc", top_k=3)
    assert asked == [{"wca", "wcb", "wdc"}]


def test_they_are_chosen_anew_when_the_collection_has_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(frequent, "MIN_DOCUMENTS", 50)
    monkeypatch.setattr(tantivy_index, "MIN_DOCUMENTS", 50)
    store = HybridDocumentStore(tmp_path)
    store.write_documents([Document(id=f"a{i}", content=f"alpha beta number{i}") for i in range(40)])
    assert len(ranking(store, "alpha number7", top_k=50)) == 40
    store.write_documents([Document(id=f"b{i}", content=f"alpha beta number{i}") for i in range(40)])
    assert [key for key, _ in ranking(store, "alpha number7", top_k=2)] == ["a7", "b7"]
    chosen = state_of(tmp_path)
    assert set(chosen["columns"]) == {"alpha", "beta"}
    assert chosen["chosen_at"] == 80
    store.write_documents([Document(id=f"c{i}", content=f"gamma delta number{i}") for i in range(900)])
    store.warm_up()
    chosen = state_of(tmp_path)
    assert set(chosen["columns"]) >= {"gamma", "delta", "alpha", "beta"}
    store.close()
    again = HybridDocumentStore(tmp_path)
    assert [key for key, _ in ranking(again, "gamma number7", top_k=1)] == ["c7"]
    again.close()


def test_lengths_are_rounded_as_tantivy_does():
    """The lengths of Lucene's SmallFloat, which tantivy has as a table: exact up to 40, then in even steps."""
    assert [rounded_length(i) for i in (0, 1, 39, 40, 41, 42, 43, 57, 61, 63)] == [0, 1, 39, 40, 40, 42, 42, 56, 60, 60]
    assert rounded_length(2_013_265_944) == 2_013_265_944
