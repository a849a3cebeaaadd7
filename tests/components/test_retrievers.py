"""BM25Retriever and EmbeddingRetriever in Haystack pipelines."""

import asyncio

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import FilterPolicy
from haystack.utils import expit

from rerank_plugin.components.bm25_retriever import BM25Retriever
from rerank_plugin.components.embedding_retriever import EmbeddingRetriever
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store import HybridDocumentStore

RETRIEVERS = {BM25Retriever: {"query": "fox"}, EmbeddingRetriever: {"query_embedding": [1.0, 0.0]}}
DOCUMENTS = [
    Document(id=f"{i}", content="fox " * (9 - i), meta={"n": i, "lang": "en" if i % 2 else "ru"}, embedding=[9.0 - i, i])
    for i in range(8)
]


def lang(value):
    return {"field": "meta.lang", "operator": "==", "value": value}


def ids(result):
    return [document.id for document in result["documents"]]


@pytest.fixture
def document_store(tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents(DOCUMENTS)
    yield store
    store.close()


@pytest.fixture(params=RETRIEVERS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def test_parameters_of_a_run_replace_those_of_the_component(document_store, kind):
    retriever, query = kind(document_store, top_k=3, filters=lang("en")), RETRIEVERS[kind]
    assert ids(retriever.run(**query)) == ["1", "3", "5"]
    assert ids(retriever.run(**query, top_k=1)) == ["1"]
    assert ids(retriever.run(**query, filters=lang("ru"), top_k=8)) == ["0", "2", "4", "6"]
    assert ids(retriever.run(**query, filters={})) == ["1", "3", "5"]
    for top_k in (0, -1):
        with pytest.raises(InvalidValueError, match=f"top_k.*{top_k}"):
            retriever.run(**query, top_k=top_k)
        with pytest.raises(InvalidValueError, match=f"top_k.*{top_k}"):
            kind(document_store, top_k=top_k)


@pytest.mark.parametrize("policy", [FilterPolicy.MERGE, "merge"])
def test_filters_are_merged_on_demand(document_store, kind, policy):
    retriever = kind(document_store, filters=lang("en"), filter_policy=policy)
    assert ids(retriever.run(**RETRIEVERS[kind], filters={"field": "meta.n", "operator": ">", "value": 3})) == ["5", "7"]


@pytest.mark.parametrize("similarity", ["cosine", "dot_product"])
def test_u12_scores_are_scaled_as_those_of_haystacks_retrievers(similarity):
    theirs = InMemoryDocumentStore(embedding_similarity_function=similarity)
    ours = HybridDocumentStore(similarity=similarity)
    for store in (theirs, ours):
        store.write_documents(DOCUMENTS)
    query = [3.0, -2.0]
    for scale_score in (False, True):
        expected = InMemoryEmbeddingRetriever(theirs, scale_score=scale_score).run(query)["documents"]
        for result in (
            EmbeddingRetriever(ours, scale_score=scale_score).run(query),
            EmbeddingRetriever(ours, scale_score=not scale_score).run(query, scale_score=scale_score),
        ):
            assert ids(result) == [document.id for document in expected]
            scores = [document.score for document in result["documents"]]
            assert scores == pytest.approx([document.score for document in expected], rel=1e-5)


def test_u12_bm25_scores_are_scaled_as_those_of_haystacks_retriever(document_store):
    raw = BM25Retriever(document_store).run("fox")["documents"]
    for retrieved in (
        BM25Retriever(document_store, scale_score=True).run("fox")["documents"],
        BM25Retriever(document_store).run("fox", scale_score=True)["documents"],
    ):
        assert [document.score for document in retrieved] == pytest.approx([expit(document.score / 8) for document in raw])
        assert all(0 < document.score < 1 for document in retrieved)
    unscaled = BM25Retriever(document_store, scale_score=True).run("fox", scale_score=False)["documents"]
    assert unscaled == raw


def test_u12_scores_of_l2_are_between_0_and_1_already():
    store = HybridDocumentStore(similarity="l2")
    store.write_documents(DOCUMENTS)
    retriever = EmbeddingRetriever(store)
    assert retriever.run([1.0, 0.0], scale_score=True) == retriever.run([1.0, 0.0])
    store = HybridDocumentStore(similarity="dot_product")
    store.write_documents([Document(id="far", embedding=[1e30, 0.0]), Document(id="near", embedding=[-1e30, 0.0])])
    scores = [d.score for d in EmbeddingRetriever(store, scale_score=True).run([1e6, 0.0])["documents"]]
    assert scores == [1.0, 0.0], "no overflow"


def test_u12_embeddings_come_on_demand(document_store):
    stored = {document.id: document.embedding for document in DOCUMENTS}
    for retriever, options in (
        (EmbeddingRetriever(document_store, return_embedding=True), {}),
        (EmbeddingRetriever(document_store), {"return_embedding": True}),
    ):
        retrieved = retriever.run([1.0, 0.0], **options)["documents"]
        assert {document.id: document.embedding for document in retrieved} == stored
        assert [d.score for d in retrieved] == [
            d.score for d in EmbeddingRetriever(document_store).run([1.0, 0.0])["documents"]
        ]
    off = EmbeddingRetriever(document_store, return_embedding=True).run([1.0, 0.0], return_embedding=False)["documents"]
    assert {document.embedding for document in off} == {None}


def test_the_sockets_are_those_of_haystacks_retrievers(kind):
    theirs = {BM25Retriever: InMemoryBM25Retriever, EmbeddingRetriever: InMemoryEmbeddingRetriever}[kind]
    one, other = kind(HybridDocumentStore()), theirs(InMemoryDocumentStore())
    for sockets in ("__haystack_input__", "__haystack_output__"):
        ours, expected = (getattr(retriever, sockets)._sockets_dict for retriever in (one, other))
        assert {name: socket.type for name, socket in ours.items()} == {name: s.type for name, s in expected.items()}
    assert one.__haystack_supports_async__


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"top_k": "5"}, "top_k must be a whole number of at least 1, got '5'"),
        ({"top_k": 2.5}, "top_k must be a whole number"),
        ({"filters": ["meta.n"]}, "filters must be a dictionary or None, got"),
        ({"filters": ""}, "filters must be a dictionary or None"),
        ({"filter_policy": "add"}, "unknown filter_policy 'add': choose one of .'replace', 'merge'"),
        ({"filter_policy": 5}, "unknown filter_policy 5"),
        ({"scale_score": "yes"}, "scale_score must be true or false, got 'yes'"),
    ],
)
def test_v_invalid_parameters_are_errors(document_store, kind, parameters, message):
    with pytest.raises(InvalidValueError, match=message):
        kind(document_store, **parameters)
    if "filter_policy" not in parameters:
        with pytest.raises(InvalidValueError, match=message):
            kind(document_store).run(**RETRIEVERS[kind], **parameters)


def test_v_flags_of_one_kind(document_store):
    with pytest.raises(InvalidValueError, match="operators must be true or false"):
        BM25Retriever(document_store, operators=1)
    with pytest.raises(InvalidValueError, match="highlights must be true or false"):
        BM25Retriever(document_store, highlights=None)
    for run in (
        lambda: EmbeddingRetriever(document_store, return_embedding="no"),
        lambda: EmbeddingRetriever(document_store).run([1.0, 0.0], return_embedding="no"),
    ):
        with pytest.raises(InvalidValueError, match="return_embedding must be true or false, got 'no'"):
            run()


def test_the_documents_of_the_store_are_not_touched(document_store, kind):
    retrieved = kind(document_store).run(**RETRIEVERS[kind])["documents"]
    assert [document.score for document in retrieved] == sorted((document.score for document in retrieved), reverse=True)
    assert {document.embedding for document in retrieved} == {None}
    assert document_store.filter_documents() == DOCUMENTS


def test_other_stores_are_refused(kind):
    with pytest.raises(TypeError, match="must be a HybridDocumentStore, got InMemoryDocumentStore"):
        kind(InMemoryDocumentStore())


def test_run_async_leaves_the_event_loop_free(document_store, kind):
    retriever, query = kind(document_store, top_k=2), RETRIEVERS[kind]

    async def run_many():
        return await asyncio.gather(*(retriever.run_async(**query) for _ in range(8)))

    assert asyncio.run(run_many()) == [retriever.run(**query)] * 8


def test_a_numpy_query_is_fine(document_store):
    expected = EmbeddingRetriever(document_store).run([1.0, 0.0])
    assert EmbeddingRetriever(document_store).run(np.array([1, 0], dtype="float32")) == expected


def test_a_pipeline_survives_yaml(document_store, tmp_path):
    pipeline = Pipeline()
    for name, kind in (("bm25_retriever", BM25Retriever), ("embedding_retriever", EmbeddingRetriever)):
        store = HybridDocumentStore(tmp_path / "index")
        own = {"operators": True} if kind is BM25Retriever else {"return_embedding": True}
        options = {"filters": lang("en"), "filter_policy": FilterPolicy.MERGE, "scale_score": True}
        pipeline.add_component(name, kind(store, top_k=2, **options, **own))
        pipeline.add_component(f"after_{name}", DocumentJoiner())
        pipeline.connect(name, f"after_{name}")
    text = pipeline.dumps()
    assert "type: rerank_plugin.components.bm25_retriever.BM25Retriever" in text
    assert "type: rerank_plugin.components.embedding_retriever.EmbeddingRetriever" in text
    assert "type: rerank_plugin.store.document_store.HybridDocumentStore" in text

    again = Pipeline.loads(text, allowed_modules=["rerank_plugin"])
    assert again.dumps() == text
    assert again.get_component("bm25_retriever").operators
    assert again.get_component("embedding_retriever").return_embedding
    assert again.get_component("embedding_retriever").scale_score
    inputs = {"bm25_retriever": {"query": "fox"}, "embedding_retriever": {"query_embedding": [1.0, 0.0]}}
    output = again.run(inputs)
    assert [ids(output[f"after_{name}"]) for name in inputs] == [["1", "3"], ["1", "3"]]
    assert asyncio.run(again.run_async(inputs)) == output
    again.close()
    pipeline.close()


def test_a_store_survives_its_dictionary(tmp_path):
    parameters = {
        "path": str(tmp_path),
        "embedding_dim": 2,
        "similarity": "l2",
        "vector_index": "flat",
        "keyword_engine": "rank_bm25",
        "language": "ru",
        "stop_words": True,
        "search_fields": {"title": 2, "content": 1},
        "bm25_parameters": {"k1": 0.9},
    }
    data = HybridDocumentStore(**parameters).to_dict()
    assert data["init_parameters"] == parameters
    assert HybridDocumentStore.from_dict(data).to_dict() == data
    assert HybridDocumentStore().to_dict()["init_parameters"]["path"] is None
