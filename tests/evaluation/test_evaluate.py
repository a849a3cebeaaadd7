import pytest
from haystack import Document, Pipeline

from rerank_plugin import BM25Retriever, HybridDocumentStore
from rerank_plugin.beir import BeirQuery
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.evaluate import evaluate_pipeline, measure
from rerank_plugin.search import Searcher


def test_values_worked_out_by_hand():
    run = {"q1": {"a": 3.0, "b": 2.0, "c": 1.0}, "q2": {"b": 1.0}}
    qrels = {"q1": {"b": 2, "c": 1}, "q2": {"a": 1}}
    means, per_query = measure(run, qrels)
    # DCG = 2/log2(3) + 1/log2(4); the ideal is 2/log2(2) + 1/log2(3).
    assert per_query["nDCG@10"]["q1"] == pytest.approx((2 / 1.58496 + 1 / 2) / (2 + 1 / 1.58496), abs=1e-4)
    assert per_query["RR@10"] == {"q1": 0.5, "q2": 0.0}
    assert means["RR@10"] == 0.25


def test_a_query_that_found_nothing_counts_zero():
    means, per_query = measure({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}})
    assert per_query["nDCG@10"] == {"q1": 1.0, "q2": 0.0}
    assert means["nDCG@10"] == 0.5


@pytest.fixture
def searcher() -> Searcher:
    store = HybridDocumentStore()
    texts = {"d1": "red fox", "d2": "red fox red fox in the wood and the field", "d3": "blue sky"}
    store.write_documents([Document(content=text, meta={"doc_id": id_}) for id_, text in texts.items()])
    pipeline = Pipeline()
    pipeline.add_component("bm25_retriever", BM25Retriever(store))
    return Searcher(pipeline)


def test_a_pipeline_is_measured_by_its_ranks(searcher):
    queries = {"q1": BeirQuery("q1", "blue sky"), "q2": BeirQuery("q2", "nothing like it")}
    done: list[int] = []
    result = evaluate_pipeline(searcher, queries, {"q1": {"d3": 1}, "q2": {"d1": 1}}, progress=done.append)
    assert result.measures == {"nDCG@10": 0.5, "RR@10": 0.5, "R@100": 0.5}
    assert list(result.milliseconds) == ["bm25_retriever"]
    assert done == [1, 2]


def test_no_queries_is_an_error(searcher):
    with pytest.raises(InvalidValueError, match="no judged queries"):
        evaluate_pipeline(searcher, {}, {})
