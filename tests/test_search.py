import pytest
from conftest import SENTENCES
from haystack import Document, Pipeline

from rerank_plugin import BM25Retriever, CrossEncoderRanker, HybridDocumentStore, ResultCollapser
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.search import Searcher


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
    assert len(searcher.search("capital, sea, fox and coffee", candidates=4, top_k=10).hits) == 4
    assert len(searcher.search("capital, sea, fox and coffee", candidates=4, top_k=2).hits) == 2
    assert len(build(cross_encoder, rerank=False).search("capital, sea, fox and coffee", top_k=3).hits) == 3


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


COPIES = 30
LONG = [f"{text} It is one of {n} facts about the capital, the fox and the sky." for n, text in enumerate(SENTENCES)]


def repetitive(cross_encoder, *, rerank, collapser=None) -> Searcher:
    """A pipeline over texts of which each stands in many files; BM25 alone would return copies of one text."""
    store = HybridDocumentStore()
    documents = [(text, file) for text in LONG for file in range(COPIES if text == LONG[0] else 2)]
    store.write_documents(
        [Document(content=text, meta={"source": f"/v{file}.md", "n": n}) for n, (text, file) in enumerate(documents)]
    )
    pipeline = Pipeline()
    pipeline.add_component("bm25_retriever", BM25Retriever(store, top_k=100 if rerank else 10))
    if rerank:
        pipeline.add_component("ranker", CrossEncoderRanker(model=str(cross_encoder), backend="torch", top_k=10))
        pipeline.connect("bm25_retriever.documents", "ranker.documents")
    if collapser is not None:
        pipeline.add_component("collapser", collapser)
        pipeline.connect(f"{'ranker' if rerank else 'bm25_retriever'}.documents", "collapser.documents")
    return Searcher(pipeline)


@pytest.mark.slow
@pytest.mark.parametrize("rerank", [True, False])
@pytest.mark.parametrize("collapser", [True, False])
def test_u6_collapsing_leaves_as_many_hits_as_there_are_texts(cross_encoder, rerank, collapser):
    searcher = repetitive(cross_encoder, rerank=rerank, collapser=ResultCollapser(top_k=5) if collapser else None)
    result = searcher.search("Paris is the capital of France", top_k=8, collapse=True)
    assert sorted(hit.document.content for hit in result.hits) == sorted(LONG)
    assert sorted(len(hit.also_in) for hit in result.hits) == [1] * 7 + [COPIES - 1]
    assert result.collapsed == 7 + COPIES - 1
    assert [hit.rank for hit in result.hits] == list(range(1, 9))
    assert "collapser" in result.milliseconds


@pytest.mark.slow
@pytest.mark.parametrize("rerank", [True, False])
def test_u6_without_a_collapser_nothing_is_left_out_unless_it_is_asked_for(cross_encoder, rerank):
    searcher = repetitive(cross_encoder, rerank=rerank)
    result = searcher.search("Paris is the capital of France")
    assert len(result.hits) == 10
    assert result.collapsed == result.over_limit == 0
    assert "collapser" not in result.milliseconds
    assert len(searcher.search("Paris is the capital of France", top_k=40, collapse=False).hits) == 40
    limited = searcher.search("Paris is the capital of France", top_k=40, max_per_source=1)
    assert len(limited.hits) == COPIES
    assert len({hit.source for hit in limited.hits}) == COPIES
    assert limited.over_limit == 14


@pytest.mark.slow
def test_u6_a_call_overrides_the_collapser_of_the_pipeline(cross_encoder):
    searcher = repetitive(cross_encoder, rerank=True, collapser=ResultCollapser(max_per_source=2, top_k=5))
    hits = searcher.search("the capital").hits
    assert len(hits) == len({hit.document.content for hit in hits}) == 5
    assert all([hit.source for hit in hits].count(source) <= 2 for source in {hit.source for hit in hits})
    both = searcher.search("the capital", collapse=False, max_per_source=3, top_k=44)
    assert len(both.hits) > COPIES
    assert both.collapsed == 0
    assert len(searcher.search("the capital", candidates=3, collapse=False, top_k=5).hits) == 3


def test_the_ranked_list_can_be_had_as_well(cross_encoder):
    searcher = repetitive(cross_encoder, rerank=False, collapser=ResultCollapser())
    ranked = Searcher(searcher._pipeline, until="ranked")
    assert len(ranked.search("the capital", top_k=40).hits) == 40
    assert ranked.search("the capital", top_k=3).collapsed == 0


def test_a_collapser_before_the_ranker_thins_out_the_candidates(cross_encoder):
    searcher = repetitive(cross_encoder, rerank=False, collapser=ResultCollapser(top_k=6))
    searcher._pipeline.add_component("ranker", CrossEncoderRanker(model=str(cross_encoder), backend="torch"))
    searcher._pipeline.connect("collapser.documents", "ranker.documents")
    hits = Searcher(searcher._pipeline).search("the capital", candidates=100, top_k=4).hits
    assert len({hit.document.content for hit in hits}) == 4
    assert all(hit.first_stage_rank <= 6 for hit in hits)


@pytest.mark.parametrize("arguments", [{"max_per_source": 0}, {"collapse": 1}])
def test_wrong_limits_are_errors(cross_encoder, arguments):
    with pytest.raises(InvalidValueError, match=r"max_per_source must be|collapse must be"):
        build(cross_encoder, rerank=False).search("fox", **arguments)


def test_a_hit_knows_its_place():
    store = HybridDocumentStore()
    meta = {"source": "/a/b.pdf", "page": 3, "section": "One > Two", "also_in": [{"source": "/c.md"}, "nonsense"]}
    store.write_documents([Document(content="the fox", meta=meta), Document(content="a fox alone")])
    pipeline = Pipeline()
    pipeline.add_component("bm25_retriever", BM25Retriever(store))
    hits = Searcher(pipeline).search("the fox").hits
    placed, other = sorted(hits, key=lambda hit: hit.source is None)
    assert (placed.source, placed.page, placed.section) == ("/a/b.pdf", 3, "One > Two")
    assert placed.also_in == [{"source": "/c.md"}]
    assert (other.source, other.page, other.section, other.also_in) == (None, None, None, [])


def test_without_a_ranker_a_rare_word_says_more_than_a_frequent_one():
    store = HybridDocumentStore()
    text = "This is what the makers say about the machine. The kettle needs a descaler. That is what it is for."
    store.write_documents([Document(content=text)])
    pipeline = Pipeline()
    pipeline.add_component("bm25_retriever", BM25Retriever(store))
    (hit,) = Searcher(pipeline).search("what is the descaler of the kettle", sentences=True).hits
    assert hit.sentence == "The kettle needs a descaler."
