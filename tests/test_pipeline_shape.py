"""How a pipeline is fed and taken apart, told by its sockets; and what is said where they do not tell it."""

from dataclasses import replace
from typing import Any

import pytest
from conftest import SENTENCES
from haystack import Document, Pipeline, SuperComponent, component
from haystack.components.builders import PromptBuilder
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore

from rerank_plugin import (
    BM25Retriever,
    CrossEncoderRanker,
    HybridDocumentStore,
    ResultCollapser,
    TwoStageRetriever,
    load_pipeline,
)
from rerank_plugin.errors import InvalidValueError, PipelineConfigError, StoreError
from rerank_plugin.pipelines.shape import shape_of
from rerank_plugin.search import Searcher

QUERY = "the capital of France and the sea"


@component
class Reversing:
    """A ranker with names of its own, which returns the candidates in reverse order, and cannot be told how many."""

    @component.output_types(documents=list[Document])
    def run(self, phrase: str, passages: list[Document]):
        return {"documents": [replace(d, score=float(n)) for n, d in enumerate(passages)][::-1]}


@component
class Sought:
    """A retriever that takes no filters, and the query under an unusual name."""

    def __init__(self, store):
        self.document_store = store

    @component.output_types(documents=list[Document])
    def run(self, wording: str, top_k: int = 3):
        return {"documents": self.document_store.bm25_retrieval(wording, top_k=top_k)}


@component
class Some:
    """A ranker that has to be told how many documents it returns."""

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int):
        return {"documents": documents[:top_k]}


@component
class Choosing:
    """What derives filters from a query, as a language model may."""

    @component.output_types(filters=dict[str, Any])
    def run(self, query: str):
        return {"filters": {"field": "meta.n", "operator": "<", "value": 3}}


@component
class FromMessages:
    """What agents give: a retriever that is asked with messages."""

    def __init__(self, store):
        self.document_store = store

    @component.output_types(documents=list[Document])
    def run(self, messages: list[ChatMessage]):
        return {"documents": self.document_store.bm25_retrieval(messages[-1].text, top_k=3)}


@pytest.fixture(scope="module")
def store():
    store = InMemoryDocumentStore()
    store.write_documents([Document(id=f"d{n}", content=text, meta={"n": n}) for n, text in enumerate(SENTENCES)])
    return store


def pipeline(connections=(), **components) -> Pipeline:
    built = Pipeline()
    for name, part in components.items():
        built.add_component(name, part)
    for sender, receiver in connections:
        built.connect(sender, receiver)
    return built


def ids(result):
    return [hit.document.id for hit in result.hits]


def test_a_ranker_of_any_names_is_told_by_its_sockets(store):
    built = pipeline([("find.documents", "turn.passages")], find=InMemoryBM25Retriever(store, top_k=8), turn=Reversing())
    searcher = Searcher(built)
    first = [d.id for d in InMemoryBM25Retriever(store, top_k=8).run(query=QUERY)["documents"]]
    result = searcher.search(QUERY)
    assert ids(result) == first[::-1]
    assert [hit.first_stage_rank for hit in result.hits] == list(range(8, 0, -1))
    assert ids(searcher.search(QUERY, top_k=2)) == first[::-1][:2]  # what cannot be told how many is cut
    assert ids(searcher.search(QUERY, candidates=3)) == first[:3][::-1]
    assert ids(searcher.search(QUERY, rerank=False, top_k=3)) == first[:3]


def test_several_retrievers_may_lead_straight_into_a_ranker(store, cross_encoder):
    ranker = CrossEncoderRanker(model=str(cross_encoder), backend="torch")
    built = pipeline(
        [("one.documents", "rank.documents"), ("two.documents", "rank.documents")],
        one=InMemoryBM25Retriever(store, top_k=2),
        two=InMemoryBM25Retriever(store, top_k=4),
        rank=ranker,
    )
    searcher = Searcher(built)
    assert [str(socket) for socket in searcher.shape.candidates] == ["one.documents", "two.documents"]
    assert len(searcher.search(QUERY).hits) == len(searcher.search(QUERY, rerank=False).hits) == 4


def test_the_last_of_several_rankers_is_the_second_stage(store, cross_encoder):
    built = pipeline(
        [("find.documents", "turn.passages"), ("turn.documents", "rank.documents")],
        find=InMemoryBM25Retriever(store),
        turn=Reversing(),
        rank=CrossEncoderRanker(model=str(cross_encoder), backend="torch"),
    )
    shape = shape_of(built)
    assert (shape.ranker.component, [str(socket) for socket in shape.candidates]) == ("rank", ["turn.documents"])


def test_a_lone_text_takes_the_query_whatever_its_name(store):
    searcher = Searcher(pipeline(find=Sought(store)))
    assert len(searcher.search(QUERY).hits) == 3
    assert len(searcher.search(QUERY, top_k=1).hits) == 1
    with pytest.raises(InvalidValueError, match="cannot be searched with filters: its retriever find takes none"):
        searcher.search(QUERY, filters={"field": "meta.n", "operator": "==", "value": 1})


def test_a_query_may_be_asked_as_a_message(store):
    assert len(Searcher(pipeline(find=FromMessages(store))).search(QUERY).hits) == 3


def test_where_it_is_ambiguous_which_socket_takes_the_query_the_choices_are_listed(store):
    parts = [("one.documents", "join.documents"), ("two.documents", "join.documents")]
    built = pipeline(parts, one=Sought(store), two=Sought(store), join=DocumentJoiner())
    with pytest.raises(PipelineConfigError, match=r"inputs: \{query: \[SOCKET\]\}.* are one\.wording, two\.wording"):
        Searcher(built)
    both = Searcher(built, inputs={"query": ["one.wording", "two.wording"]})
    assert len(both.search(QUERY).hits) == 3
    built.metadata["inputs"] = {"query": ["one.wording", "two.wording"]}  # as `load_pipeline` keeps the YAML's
    assert ids(Searcher(built).search(QUERY)) == ids(both.search(QUERY))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"query": "find.nothing"}, r"'inputs' names find\.nothing, which is no open socket.* are find\.query"),
        ({"query": ["turn.passages"]}, r"'inputs' names turn\.passages, which is no open socket"),
        ({"query": "find"}, r"'inputs' needs sockets such as 'retriever\.query' for 'query', got 'find'"),
        (["find.query"], "'inputs' must map names to sockets"),
        ({"query": ["find.query"]}, r"nothing says what turn\.phrase should be given"),
    ],
)
def test_wrong_inputs_are_named(store, inputs, message):
    built = pipeline([("find.documents", "turn.passages")], find=InMemoryBM25Retriever(store), turn=Reversing())
    with pytest.raises(PipelineConfigError, match=message):
        Searcher(built, inputs=inputs)


def test_of_several_lists_of_documents_the_result_has_to_be_named(store):
    built = pipeline(one=InMemoryBM25Retriever(store), two=InMemoryBM25Retriever(store, top_k=2))
    with pytest.raises(PipelineConfigError, match=r"outputs: \{documents: SOCKET\}.* are one\.documents, two\.documents"):
        Searcher(built)
    searcher = Searcher(built, outputs={"documents": "two.documents"})
    result = searcher.search(QUERY)
    assert len(result.hits) == 2
    assert list(result.milliseconds) == ["two"]  # the other one does not run
    with pytest.raises(PipelineConfigError, match=r"which is no list of documents of this pipeline: choose one of one\."):
        Searcher(built, outputs={"documents": "two.query"})


def test_what_needs_a_value_that_nothing_says_is_named(store):
    prompt = PromptBuilder("{{ documents }} in {{ language }}", required_variables="*")
    built = pipeline([("find.documents", "prompt.documents")], find=InMemoryBM25Retriever(store), prompt=prompt)
    assert Searcher(built).search(QUERY).hits  # the prompt is not needed for the documents
    before = pipeline(
        [("prompt.prompt", "find.query")],
        prompt=PromptBuilder("{{ query }} in {{ language }}", required_variables="*"),
        find=InMemoryBM25Retriever(store),
    )
    with pytest.raises(PipelineConfigError, match=r"nothing says what prompt\.language should be given"):
        Searcher(before)


def test_a_component_that_has_to_be_told_how_many_is_told(store):
    built = pipeline([("find.documents", "some.documents")], find=InMemoryBM25Retriever(store), some=Some())
    assert len(Searcher(built).search(QUERY, top_k=2).hits) == 2
    with pytest.raises(InvalidValueError, match=r"some\.top_k has no default: say how many documents, with top_k"):
        Searcher(built).search(QUERY)


def test_filters_that_come_from_a_component_cannot_be_given(store):
    built = pipeline([("chosen.filters", "find.filters")], chosen=Choosing(), find=InMemoryBM25Retriever(store))
    searcher = Searcher(built)
    assert {hit.document.meta["n"] for hit in searcher.search(QUERY).hits} == {0, 1, 2}
    with pytest.raises(InvalidValueError, match=r"find\.filters comes from chosen\.filters"):
        searcher.search(QUERY, filters={"field": "meta.n", "operator": "==", "value": 1})


def test_a_ranker_whose_query_comes_from_a_component_is_no_stage_of_its_own(store):
    built = pipeline(
        [("prompt.prompt", "turn.phrase"), ("find.documents", "turn.passages")],
        prompt=PromptBuilder("about {{ query }}", required_variables="*"),
        find=InMemoryBM25Retriever(store),
        turn=Reversing(),
    )
    searcher = Searcher(built)
    assert searcher.shape.inseparable == "turn.phrase comes from prompt.prompt"
    assert searcher.search(QUERY).hits


def test_a_second_stage_inside_of_a_supercomponent_is_seen(store):
    inner = pipeline([("find.documents", "turn.passages")], find=InMemoryBM25Retriever(store), turn=Reversing())
    both = SuperComponent(inner, {"query": ["find.query", "turn.phrase"], "filters": ["find.filters"]})
    searcher = Searcher(pipeline(both=both))
    assert searcher.has_second_stage
    assert searcher.shape.inseparable == "both contains its second stage"
    assert len(searcher.search(QUERY, filters={"field": "meta.n", "operator": "<", "value": 2}, top_k=5).hits) == 2
    assert list(searcher.search(QUERY).milliseconds) == ["both"]


def test_a_second_stage_inside_of_our_component_can_be_left_out(store, cross_encoder):
    ranker = CrossEncoderRanker(model=str(cross_encoder), backend="torch")
    searcher = Searcher(pipeline(both=TwoStageRetriever(InMemoryBM25Retriever(store), ranker)))
    result = searcher.search(QUERY, candidates=4, top_k=3, sentences=True)
    assert (len(result.hits), result.status["candidates"]) == (3, 4)
    assert all(hit.sentence for hit in result.hits)
    assert {hit.first_stage_rank for hit in result.hits} <= {1, 2, 3, 4}
    plain = searcher.search(QUERY, rerank=False, top_k=3)
    assert ids(plain) == [d.id for d in InMemoryBM25Retriever(store, top_k=3).run(query=QUERY)["documents"]]
    assert plain.status is None


def test_an_indexing_pipeline_cannot_search():
    with pytest.raises(PipelineConfigError, match=r"which socket takes the query \(is it a pipeline that indexes\?\)"):
        Searcher(load_pipeline("indexing_keyword"))


def test_stores_are_found_inside_of_components(store):
    inner = SuperComponent(pipeline(find=InMemoryBM25Retriever(store)))
    searcher = Searcher(pipeline(find=inner))
    assert searcher.document_stores == [store]
    empty = Searcher(pipeline(find=SuperComponent(pipeline(find=InMemoryBM25Retriever(InMemoryDocumentStore())))))
    with pytest.raises(StoreError, match="the InMemoryDocumentStore that is searched holds no documents"):
        empty.warm_up()


def test_our_pipeline_with_other_names_gives_the_same(cross_encoder):
    store = HybridDocumentStore()
    store.write_documents([Document(id=f"d{n}", content=text, meta={"n": n}) for n, text in enumerate(SENTENCES)])

    def searcher(find, rank, collapse):
        parts = {
            find: BM25Retriever(store, top_k=8),
            rank: CrossEncoderRanker(model=str(cross_encoder), backend="torch", top_k=8),
            collapse: ResultCollapser(top_k=5),
        }
        return Searcher(
            pipeline([(f"{find}.documents", f"{rank}.documents"), (f"{rank}.documents", f"{collapse}.documents")], **parts)
        )

    ours, other = searcher("bm25_retriever", "ranker", "collapser"), searcher("seek", "order", "tidy")
    for options in ({}, {"top_k": 2}, {"candidates": 3}, {"collapse": False}, {"rerank": False}, {"max_per_source": 1}):
        assert ids(other.search(QUERY, **options)) == ids(ours.search(QUERY, **options))
    assert set(other.search(QUERY).milliseconds) == {"seek", "order", "tidy"}
    assert set(other.search(QUERY, rerank=False).milliseconds) == {"seek", "tidy"}
