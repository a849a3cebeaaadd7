"""Vector search: similarities, scores, filters, and numerically difficult vectors."""

import numpy as np
import pytest
from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.vectors import VectorIndex

SIMILARITIES = {
    "cosine": lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
    "dot_product": lambda a, b: float(a @ b),
    "l2": lambda a, b: float(1 / (1 + ((a - b) ** 2).sum())),
}


def make_store(vectors, **parameters):
    store = HybridDocumentStore(**parameters)
    documents = [Document(id=f"{i:04}", embedding=v.tolist(), meta={"n": i}) for i, v in enumerate(vectors)]
    store.write_documents(documents)
    return store


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("allowed", [None, 4, 150])
def test_finds_what_a_plain_loop_finds(similarity, allowed):
    chance = np.random.default_rng(7)
    vectors, query = chance.normal(size=(300, 24)), chance.normal(size=24)
    chosen = range(300) if allowed is None else sorted(chance.choice(300, allowed, replace=False).tolist())
    scores = {f"{i:04}": SIMILARITIES[similarity](vectors[i], query) for i in chosen}
    expected = sorted(scores, key=lambda key: -scores[key])[:20]
    filters = None if allowed is None else {"field": "meta.n", "operator": "in", "value": chosen}

    found = make_store(vectors, similarity=similarity).embedding_retrieval(query.tolist(), filters=filters, top_k=20)

    assert [document.id for document in found] == expected
    assert [document.score for document in found] == pytest.approx([scores[key] for key in expected], rel=1e-5)
    assert all(type(document.score) is float and document.embedding is None for document in found)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_replaced_and_deleted_vectors_leave_no_trace(similarity):
    chance = np.random.default_rng(8)
    vectors, query = chance.normal(size=(60, 8)).astype("float32"), chance.normal(size=8)
    store = make_store(vectors[:40], similarity=similarity)
    store.embedding_retrieval(query)  # so that the following changes are replayed
    store.delete_documents([f"{i:04}" for i in range(0, 40, 3)])
    changed = [Document(id=f"{i:04}", embedding=vectors[i + 20].tolist()) for i in range(30, 40)]
    store.write_documents([*changed, Document(id="0001")], policy=DuplicatePolicy.OVERWRITE)

    left = {d.id: np.array(d.embedding) for d in store.filter_documents() if d.embedding is not None}
    expected = sorted(left, key=lambda key: -SIMILARITIES[similarity](left[key], query))
    assert len(left) == 40 - 14 - 1 + 4
    assert [document.id for document in store.embedding_retrieval(query, top_k=99)] == expected


def test_equal_vectors_come_by_id_and_the_cut_is_by_id_too():
    store = HybridDocumentStore()
    names = [f"{i:03}" for i in range(200)]
    shuffled = np.random.default_rng(3).permutation(names).tolist()
    store.write_documents([Document(id=name, embedding=[0.5, 0.5, 0.1]) for name in shuffled])
    assert [document.id for document in store.embedding_retrieval([1.0, 0.0, 0.0], top_k=5)] == names[:5]


@pytest.mark.slow
@pytest.mark.parametrize("query", [[0.0, 0.0], [1.0, 0.0]])
def test_t7_ties_do_not_let_the_search_grow_without_bound(monkeypatch, query):
    """A zero query vector is equally near to every document: all of them were fetched, in ever larger steps."""
    asked = []
    original = VectorIndex.search
    monkeypatch.setattr(
        VectorIndex, "search", lambda self, q, limit, allowed: asked.append(limit) or original(self, q, limit, allowed)
    )
    store = HybridDocumentStore()
    store.write_documents([Document(id=f"{i:05}", embedding=[0.5, 0.5]) for i in range(5000)])
    for top_k in (1, 10, 3000):
        asked.clear()
        found = store.embedding_retrieval(query, top_k=top_k)
        assert len(found) == top_k
        assert len({document.score for document in found}) == 1
        assert [document.id for document in found] == sorted(document.id for document in found)
        assert max(asked) <= top_k + 1000
        assert len(asked) <= 5
        assert store.embedding_retrieval(query, top_k=top_k) == found


def test_cosine_is_blind_to_length_and_zero_vectors_score_zero():
    store = make_store(np.array([[1e-20, 0.0], [3e30, 3e30], [0.0, 0.0], [-2.0, 0.0]]))
    found = {document.id: document.score for document in store.embedding_retrieval([5.0, 0.0])}
    assert found == pytest.approx({"0000": 1.0, "0001": 0.5**0.5, "0002": 0.0, "0003": -1.0})
    assert {document.score for document in store.embedding_retrieval([0, 0])} == {0.0}


def test_documents_without_embedding_are_never_found():
    store = HybridDocumentStore()
    assert store.embedding_retrieval([1.0, 2.0, 3.0]) == []
    store.write_documents([Document(id="text", content="no vector")])
    assert store.embedding_retrieval([1.0, 2.0]) == []
    store.write_documents([Document(id="vector", embedding=[1.0, 0.0])])
    assert [document.id for document in store.embedding_retrieval([1.0, 0.0])] == ["vector"]
    assert store.embedding_retrieval([1, 0], filters={"field": "id", "operator": "==", "value": "text"}) == []


def test_float32_and_float64_may_be_mixed():
    exact, rounded = [0.5, 0.25], [0.1, 1 / 3]
    store = HybridDocumentStore(similarity="dot_product")
    store.write_documents([Document(id="a", embedding=exact), Document(id="b", embedding=rounded)])
    assert [document.embedding for document in store.filter_documents()] == [exact, rounded]
    scores = {document.id: document.score for document in store.embedding_retrieval([1.0, 1.0])}
    assert scores == pytest.approx({"a": 0.75, "b": 0.1 + 1 / 3})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([1.0, 2.0, 3.0], "has 3 dimensions.* have 2"),
        ([1.0, float("nan")], "NaN"),
        ([], "non-empty"),
        ("text", "list of numbers"),
        ([[1.0, 2.0]], "flat"),
        (None, "list of numbers"),
        ([1.0, float("inf")], "NaN, infinity"),
        ([1.0, 1e300], "single precision"),
        ([1.0, 10**400], "list of numbers"),
        ([1.0, "2"], "list of numbers"),
        ([True, False], "list of numbers"),
        ([1j, 2.0], "list of numbers"),
        ({"a": 1.0}, "list of numbers"),
        ([[1.0], [2.0, 3.0]], "list of numbers"),
    ],
)
def test_a_query_that_is_no_vector_of_the_index(query, message):
    with pytest.raises(InvalidValueError, match=f"the query embedding.*{message}"):
        make_store(np.eye(2)).embedding_retrieval(query)
