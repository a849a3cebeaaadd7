"""BM25Retriever and EmbeddingRetriever as parts of Haystack pipelines."""

import asyncio

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import FilterPolicy

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


def test_the_documents_of_the_store_are_not_touched(document_store, kind):
    found = kind(document_store).run(**RETRIEVERS[kind])["documents"]
    assert [document.score for document in found] == sorted((document.score for document in found), reverse=True)
    assert {document.embedding for document in found} == {None}
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
        pipeline.add_component(name, kind(store, top_k=2, filters=lang("en"), filter_policy=FilterPolicy.MERGE))
        pipeline.add_component(f"after_{name}", DocumentJoiner())
        pipeline.connect(name, f"after_{name}")
    text = pipeline.dumps()
    assert "type: rerank_plugin.components.bm25_retriever.BM25Retriever" in text
    assert "type: rerank_plugin.components.embedding_retriever.EmbeddingRetriever" in text
    assert "type: rerank_plugin.store.document_store.HybridDocumentStore" in text

    again = Pipeline.loads(text, allowed_modules=["rerank_plugin"])
    assert again.dumps() == text
    inputs = {"bm25_retriever": {"query": "fox"}, "embedding_retriever": {"query_embedding": [1.0, 0.0]}}
    found = again.run(inputs)
    assert [ids(found[f"after_{name}"]) for name in inputs] == [["1", "3"], ["1", "3"]]
    assert asyncio.run(again.run_async(inputs)) == found
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
