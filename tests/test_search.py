import pytest
from conftest import SENTENCES
from haystack import Document, Pipeline

from rerank_plugin import BM25Retriever, CrossEncoderRanker, HybridDocumentStore
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.search import Searcher, split_sentences


def build(cross_encoder, *, rerank: bool = True, empty: bool = False, **ranker) -> Searcher:
    store = HybridDocumentStore()
    if not empty:
        store.write_documents([Document(content=text, meta={"n": i}) for i, text in enumerate(SENTENCES)])
    pipeline = Pipeline()
    pipeline.add_component("bm25_retriever", BM25Retriever(store, top_k=100))
    if rerank:
        pipeline.add_component("ranker", CrossEncoderRanker(model=str(cross_encoder), backend="torch", **ranker))
        pipeline.connect("bm25_retriever.documents", "ranker.documents")
    return Searcher(pipeline)


def test_hits_tell_old_and_new_rank_and_scores(cross_encoder):
    hits = build(cross_encoder).search("capital city of the sea").hits
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert sorted(hit.first_stage_rank for hit in hits) == list(range(1, len(hits) + 1))
    assert all(hit.first_stage_score > 0 for hit in hits)
    assert [hit.document.score for hit in hits] == sorted((hit.document.score for hit in hits), reverse=True)


def test_candidates_bound_the_first_stage_and_top_k_the_last(cross_encoder):
    searcher = build(cross_encoder)
    assert len(searcher.search("the capital", candidates=4, top_k=10).hits) == 4
    assert len(searcher.search("the capital", candidates=4, top_k=2).hits) == 2
    assert len(build(cross_encoder, rerank=False).search("the capital", top_k=3).hits) == 3


def test_filters_reach_the_first_stage(cross_encoder):
    filters = {"field": "meta.n", "operator": "<", "value": 2}
    hits = build(cross_encoder).search("the capital", filters=filters).hits
    assert {hit.document.meta["n"] for hit in hits} == {0, 1}


def test_every_component_is_timed(cross_encoder):
    result = build(cross_encoder).search("the capital")
    assert list(result.milliseconds) == ["bm25_retriever", "ranker"]
    assert all(time > 0 for time in result.milliseconds.values())


@pytest.mark.parametrize("rerank", [True, False])
def test_the_sentence_is_one_of_the_document(cross_encoder, rerank):
    store = HybridDocumentStore()
    store.write_documents([Document(content="The sky is blue. The red fox sleeps! Is tea a drink?"), Document(content=None)])
    searcher = build(cross_encoder, rerank=rerank)
    searcher._pipeline.get_component("bm25_retriever").document_store = store
    hit = searcher.search("red fox sleeps", sentences=True).hits[0]
    assert hit.sentence in {"The sky is blue.", "The red fox sleeps!", "Is tea a drink?"}
    if not rerank:
        assert hit.sentence == "The red fox sleeps!"


def test_a_score_threshold_of_the_pipeline_does_not_lose_sentences(cross_encoder):
    searcher = build(cross_encoder, score_threshold=0.0)
    assert all(hit.sentence for hit in searcher.search("the capital", sentences=True).hits)


@pytest.mark.parametrize("arguments", [{"top_k": 0}, {"candidates": 0}])
def test_numbers_below_one_are_errors(cross_encoder, arguments):
    with pytest.raises(InvalidValueError, match=r"(top_k|candidates) must be a whole number of at least 1, got 0"):
        build(cross_encoder).search("fox", **arguments)


def test_an_empty_query_is_an_error(cross_encoder):
    with pytest.raises(InvalidValueError, match="query is empty"):
        build(cross_encoder).search("  ")


def test_an_empty_index_is_an_error_before_any_model_is_loaded(cross_encoder):
    with pytest.raises(StoreError, match="rerank index"):
        build("no/such/model", empty=True).warm_up()


def test_sentences_end_at_marks_and_lines():
    assert split_sentences("One. Two!\nThree… Four?  ") == ["One.", "Two!", "Three…", "Four?"]
    assert split_sentences(" ") == []
