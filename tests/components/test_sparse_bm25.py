"""BM25 as sparse embeddings: the product of a query's and a document's values, times the idf, is the BM25 score."""

import math

import pytest
from conftest import SENTENCES
from haystack import Document, Pipeline

from rerank_plugin import HybridDocumentStore
from rerank_plugin.components import BM25SparseDocumentEmbedder, BM25SparseTextEmbedder
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.keywords.analysis import make_analyzer

QUERIES = ["capital of France", "the red fox and the old dog", "where are books, books and tea?", "nothing of the kind"]


def scores(query, documents):
    """Scores as a database with inverse document frequencies computes them."""
    sparse = BM25SparseTextEmbedder().run(query)["sparse_embedding"]
    wanted = dict(zip(sparse.indices, sparse.values, strict=True))
    values = [dict(zip(d.sparse_embedding.indices, d.sparse_embedding.values, strict=True)) for d in documents]
    total = len(documents)
    idf = {}
    for dimension in wanted:
        having = sum(dimension in each for each in values)
        idf[dimension] = math.log(1 + (total - having + 0.5) / (having + 0.5))
    return [sum(wanted[key] * each[key] * idf[key] for key in wanted.keys() & each.keys()) for each in values]


@pytest.mark.parametrize("query", QUERIES)
def test_the_scores_are_those_of_our_keyword_index(query):
    documents = [Document(content=text, meta={"title": f"title {i}"}) for i, text in enumerate(SENTENCES)]
    analyze = make_analyzer("en", stop_words=False)
    average = sum(len(analyze(f"{d.meta['title']} {d.content}")) for d in documents) / len(documents)
    embedded = BM25SparseDocumentEmbedder(average_length=average).run(documents)["documents"]
    with HybridDocumentStore(keyword_engine="rank_bm25") as store:
        store.write_documents(documents)
        expected = {document.id: document.score for document in store.bm25_retrieval(query, top_k=100)}
    got = {d.id: score for d, score in zip(embedded, scores(query, embedded), strict=True) if score > 0}
    assert got == pytest.approx(expected, rel=1e-4)


def test_documents_are_copied_and_an_empty_one_has_no_values():
    documents = [Document(content="Tea and bread."), Document(content=None)]
    embedded = BM25SparseDocumentEmbedder().run(documents)["documents"]
    assert documents[0].sparse_embedding is None
    assert embedded[0].sparse_embedding.indices == sorted(embedded[0].sparse_embedding.indices)
    assert embedded[1].sparse_embedding.indices == []


def test_the_dimension_of_a_word_never_changes():
    assert BM25SparseTextEmbedder().run("foxes")["sparse_embedding"].indices == [3786988939]
    assert BM25SparseTextEmbedder().run("fox")["sparse_embedding"].indices == [3786988939]


def test_they_are_saved_and_loaded():
    pipeline = Pipeline()
    pipeline.add_component("documents", BM25SparseDocumentEmbedder("ru", search_fields={"title": 2}, average_length=50))
    pipeline.add_component("text", BM25SparseTextEmbedder("ru"))
    assert Pipeline.loads(pipeline.dumps()).to_dict() == pipeline.to_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"language": "xx"}, "unknown language 'xx'"),
        ({"average_length": 0}, "average_length"),
        ({"search_fields": {}}, "search_fields"),
    ],
)
def test_wrong_parameters_are_refused(arguments, message):
    with pytest.raises(InvalidValueError, match=message):
        BM25SparseDocumentEmbedder(**arguments)


def test_wrong_inputs_are_refused():
    with pytest.raises(InvalidValueError, match="documents must be a list"):
        BM25SparseDocumentEmbedder().run("text")
    with pytest.raises(InvalidValueError, match="text must be a string"):
        BM25SparseTextEmbedder().run(5)
