"""TwoStageRetriever: both stages as one retriever, over our store and others, in Python, YAML and pipelines."""

import asyncio
from dataclasses import replace

import pytest
from conftest import SENTENCES
from haystack import Document, Pipeline, component
from haystack.components.builders import PromptBuilder
from haystack.components.embedders import MockDocumentEmbedder, MockTextEmbedder
from haystack.components.generators.chat import MockChatGenerator
from haystack.components.retrievers import (
    InMemoryBM25Retriever,
    InMemoryEmbeddingRetriever,
    MultiQueryTextRetriever,
    MultiRetriever,
    TextEmbeddingRetriever,
)
from haystack.core.serialization_security import allow_deserialization_module
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tools import ComponentTool

from rerank_plugin import BM25Retriever, CrossEncoderRanker, HybridDocumentStore, TwoStageRetriever
from rerank_plugin.errors import InvalidValueError

QUERY = "the capital of France and the sea"
LOW = {"field": "meta.n", "operator": "<", "value": 3}


@component
class Shortest:
    """A ranker of another library: the shortest text is the best."""

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None):
        ranked = sorted(documents, key=lambda document: len(document.content))
        return {"documents": [replace(document, score=-float(len(document.content))) for document in ranked][:top_k]}


@component
class Everything:
    """A retriever that takes no filters and no top_k."""

    @component.output_types(documents=list[Document])
    def run(self, query: str):
        return {"documents": [Document(content=text) for text in SENTENCES]}


@pytest.fixture(scope="module")
def store():
    store = InMemoryDocumentStore(index="two-stages")
    documents = [Document(id=f"d{n}", content=text, meta={"n": n}) for n, text in enumerate(SENTENCES)]
    store.write_documents(MockDocumentEmbedder(dimension=16).run(documents)["documents"])
    yield store
    store.delete_documents([document.id for document in documents])


@pytest.fixture(scope="module")
def ranker(cross_encoder):
    return CrossEncoderRanker(model=str(cross_encoder), backend="torch")


def ids(answer):
    return [document.id for document in answer["documents"]]


def hybrid(store, ranker, **parameters):
    return TwoStageRetriever(
        {"words": InMemoryBM25Retriever(store), "meaning": InMemoryEmbeddingRetriever(store)},
        ranker,
        text_embedder=MockTextEmbedder(dimension=16),
        **parameters,
    )


def test_it_is_a_retriever_and_a_ranker_one_after_the_other(store, ranker):
    candidates = InMemoryBM25Retriever(store, top_k=6).run(query=QUERY)["documents"]
    answer = TwoStageRetriever(InMemoryBM25Retriever(store), ranker, candidates=6, top_k=4).run(query=QUERY)
    expected = ranker.run(query=QUERY, documents=candidates, top_k=4)
    assert answer["documents"] == expected["documents"]
    assert answer["status"]["state"] == "complete"
    assert (answer["status"]["candidates"], answer["status"]["scored"]) == (6, 6)


def test_our_store_and_the_default_ranker_need_nothing_but_the_retriever():
    own = HybridDocumentStore()
    own.write_documents([Document(content=text) for text in SENTENCES])
    retriever = TwoStageRetriever(BM25Retriever(own))
    assert retriever.ranker.model == CrossEncoderRanker().model
    status = retriever.run(query="fox, sea, moon and coffee", rerank=False, top_k=2)["status"]
    assert status == {"state": "complete", "candidates": 5, "scored": 0}


def test_a_call_overrides_what_is_configured_falsy_values_too(store, ranker):
    retriever = TwoStageRetriever(InMemoryBM25Retriever(store), ranker, candidates=6, top_k=4, filters=LOW)
    assert {document.meta["n"] for document in retriever.run(query=QUERY)["documents"]} == {0, 1, 2}
    assert len(retriever.run(query=QUERY, filters={}, top_k=5)["documents"]) == 5
    assert len(retriever.run(query=QUERY, filters={}, candidates=2)["documents"]) == 2
    assert len(retriever.run(query=QUERY, filters={}, top_k=7)["documents"]) == 7  # more than the candidates configured
    plain = retriever.run(query=QUERY, rerank=False)
    assert ids(plain) == [d.id for d in InMemoryBM25Retriever(store).run(query=QUERY, filters=LOW, top_k=4)["documents"]]
    without = TwoStageRetriever(InMemoryBM25Retriever(store), ranker, rerank=False)
    assert without.run(query=QUERY)["status"]["scored"] == 0
    assert without.run(query=QUERY, rerank=True)["status"]["scored"] > 0


def test_the_ranks_of_the_first_stage_are_kept_whatever_ranks(store):
    answer = TwoStageRetriever(InMemoryBM25Retriever(store), Shortest(), top_k=3).run(query=QUERY)
    lengths = [len(document.content) for document in answer["documents"]]
    assert lengths == sorted(lengths)
    before = {d.id: (n, d.score) for n, d in enumerate(InMemoryBM25Retriever(store).run(query=QUERY)["documents"], start=1)}
    for document in answer["documents"]:
        assert (document.meta["first_stage_rank"], document.meta["first_stage_score"]) == before[document.id]
    assert answer["status"] == {"state": "complete", "candidates": 8, "scored": 8}


def test_several_retrievers_are_fused_by_rank(store, ranker):
    found = hybrid(store, ranker, candidates=5).run(query=SENTENCES[3], rerank=False, top_k=5)
    assert len(found["documents"]) == 5
    assert ids(found)[0] == "d3"  # the first of both
    assert len(ids(found)) == len(set(ids(found)))
    assert {d.meta["n"] for d in hybrid(store, ranker).run(query=QUERY, filters=LOW)["documents"]} == {0, 1, 2}


@pytest.mark.slow
def test_it_goes_through_yaml_with_one_retriever_and_with_several(store, ranker):
    allow_deserialization_module("rerank_plugin")
    for retriever in (TwoStageRetriever(InMemoryBM25Retriever(store), ranker, filters=LOW), hybrid(store, ranker, top_k=3)):
        pipeline = Pipeline()
        pipeline.add_component("search", retriever)
        again = Pipeline.loads(pipeline.dumps())
        assert again.to_dict() == pipeline.to_dict()
        inputs = {"search": {"query": QUERY}}
        assert ids(again.run(inputs)["search"]) == ids(pipeline.run(inputs)["search"])


@pytest.mark.slow
def test_async_calls_give_the_same(store, ranker):
    async def both():
        pipeline = Pipeline()
        pipeline.add_component("search", hybrid(store, ranker))
        inputs = {"search": {"query": QUERY, "top_k": 4}}
        alone, *together = await asyncio.gather(*(pipeline.run_async(inputs) for _ in range(4)))
        return ids(alone["search"]), [ids(answer["search"]) for answer in together]

    alone, together = asyncio.run(both())
    assert alone == ids(hybrid(store, ranker).run(query=QUERY, top_k=4))
    assert together == [alone] * 3


def test_an_error_of_a_retriever_comes_out_as_it_is(store, ranker):
    wrong = {"field": "meta.n", "operator": "nonsense", "value": 3}
    with pytest.raises(Exception, match="nonsense") as sync:
        hybrid(store, ranker).run(query=QUERY, filters=wrong)
    with pytest.raises(type(sync.value), match="nonsense"):
        asyncio.run(hybrid(store, ranker).run_async(query=QUERY, filters=wrong))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*experimental component.*")
def test_it_stands_wherever_haystack_wants_a_retriever(store, ranker):
    search = TwoStageRetriever(InMemoryBM25Retriever(store), ranker, candidates=6)
    dense = TextEmbeddingRetriever(retriever=InMemoryEmbeddingRetriever(store), text_embedder=MockTextEmbedder(dimension=16))
    several = MultiRetriever(retrievers={"two_stages": search, "dense": dense}, top_k=4)
    assert len(several.run(query=QUERY, filters=LOW)["documents"]) == 3
    assert len(asyncio.run(several.run_async(query=QUERY))["documents"]) == 4
    expanded = MultiQueryTextRetriever(retriever=search).run(queries=[QUERY, "red fox"], retriever_kwargs={"top_k": 2})
    assert {"d2"} <= set(ids(expanded))
    tool = ComponentTool(component=search, name="search", description="Search.")
    assert ids(tool.invoke(query=QUERY, top_k=2)) == ids(search.run(query=QUERY, top_k=2))
    assert {"query", "top_k", "filters"} <= set(tool.parameters["properties"])


@pytest.mark.slow
def test_a_pipeline_around_it_streams(store, ranker):
    pipeline = Pipeline()
    pipeline.add_component("search", TwoStageRetriever(InMemoryBM25Retriever(store), ranker, top_k=1))
    pipeline.add_component("prompt", PromptBuilder("{% for d in documents %}{{ d.content }}{% endfor %}"))
    pipeline.add_component("llm", MockChatGenerator())
    pipeline.connect("search.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")

    async def streamed():
        handle = pipeline.stream({"search": {"query": QUERY}})
        return "".join([chunk.content async for chunk in handle]), handle.result

    text, result = asyncio.run(streamed())
    assert text == result["llm"]["replies"][0].text
    assert text in SENTENCES


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda store: TwoStageRetriever(store), "retriever must be a Haystack component, got InMemoryDocumentStore"),
        (lambda store: TwoStageRetriever({}), "retriever must be a retriever, or several by name: got none"),
        (
            lambda store: TwoStageRetriever(InMemoryEmbeddingRetriever(store)),
            r"takes the embedding of the query: pass the text_embedder",
        ),
        (
            lambda store: TwoStageRetriever(MockTextEmbedder()),
            "retriever must be a retriever, which takes query or query_embedding and returns documents; MockTextEmbedder",
        ),
        (
            lambda store: TwoStageRetriever(InMemoryBM25Retriever(store), InMemoryBM25Retriever(store)),
            "ranker must take query and documents and return documents; InMemoryBM25Retriever takes",
        ),
        (
            lambda store: TwoStageRetriever(InMemoryBM25Retriever(store), text_embedder=Shortest()),
            "text_embedder must take text and return embedding; Shortest takes",
        ),
        (lambda store: TwoStageRetriever(InMemoryBM25Retriever(store), top_k=0), "top_k must be a whole number of at least"),
        (lambda store: TwoStageRetriever(InMemoryBM25Retriever(store), candidates=0), "candidates must be a whole number"),
        (lambda store: TwoStageRetriever(InMemoryBM25Retriever(store), filters=[1]), "filters must be a dictionary or None"),
        (lambda store: TwoStageRetriever(Everything(), filters=LOW), r"retriever \(Everything\) takes no filters"),
    ],
)
def test_parts_that_do_not_fit_are_refused(store, make, message):
    with pytest.raises(InvalidValueError, match=message):
        make(store)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": " "}, "query is empty"),
        ({"query": QUERY, "top_k": 0}, "top_k must be"),
        ({"query": QUERY, "candidates": 0}, "candidates must be"),
        ({"query": QUERY, "filters": []}, "filters must be a dictionary or None"),
        ({"query": QUERY, "filters": LOW}, r"retriever \(Everything\) takes no filters"),
        ({"query": QUERY, "time_budget_ms": 5}, "the ranker, a Shortest, takes no time_budget_ms: leave it out"),
    ],
)
def test_what_a_part_does_not_take_is_refused(arguments, message):
    retriever = TwoStageRetriever(Everything(), Shortest())
    with pytest.raises(InvalidValueError, match=message):
        retriever.run(**arguments)
    assert len(retriever.run(query=QUERY, candidates=3)["documents"]) == 3


def test_nothing_found_is_nothing_returned(ranker):
    empty = TwoStageRetriever(InMemoryBM25Retriever(InMemoryDocumentStore()), ranker)
    assert empty.run(query=QUERY) == {"documents": [], "status": {"state": "complete", "candidates": 0, "scored": 0}}
