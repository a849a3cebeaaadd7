"""Pipelines that were built as Haystack's documentation, tutorials and cookbook show: each is searched and evaluated as it is."""

import json
from pathlib import Path

import pytest
from conftest import QUERIES
from haystack import Document
from haystack.components.embedders import MockDocumentEmbedder
from haystack.components.preprocessors import HierarchicalDocumentSplitter
from haystack.document_stores.in_memory import InMemoryDocumentStore

from rerank_plugin import load_pipeline
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.evaluation.run import run_evaluation
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.pipelines import read_pipeline
from rerank_plugin.search import Searcher

FOLDER = Path(__file__).parent / "pipelines_of_others"
# For each pipeline where the candidates come from, its second stage (`None`: none, or none that runs by itself), and what the
# report remarks.
STAGES = {
    "auto_merging": (["auto_merging_retriever.documents"], None, ""),
    "hybrid_with_ranker": (["document_joiner.documents"], "ranker", ""),
    "hyde": (["retriever.documents"], "llm_ranker", ""),
    "metadata_ranking": (
        ["retriever.documents"],
        "similarity_ranker",
        "measured behind its ranker: what meta_ranker changes afterwards is not",
    ),
    "multi_query_hybrid": (["joiner.documents"], None, ""),
    "query_classification": (["document_joiner.documents"], "similarity", ""),
    "query_expansion": (["multi_query_retriever.documents"], "reranker", ""),
    "rag": (["retriever.documents"], None, ""),
    "rank_fusion": (["joiner.documents"], None, ""),
    "ranked_branches": (
        ["joiner.documents"],
        None,
        "measured as a whole, not stage by stage: documents of embedding_retriever also reach the result without ranker",
    ),
    "router_fallback": (["joiner.documents"], "ranker", ""),
    "sentence_window": (
        ["bm25_retriever.documents"],
        "sentence_ranker",
        "measured behind its ranker: what sentence_window_retriever changes afterwards is not",
    ),
    "super_component": (["hybrid.documents"], "ranker", ""),
}
# These add the neighbours or parents of what was found, whatever the filters.
WIDENING = {"auto_merging", "sentence_window"}
QUERY = "the capital of France and the sea"


@pytest.fixture(scope="module", autouse=True)
def stores(collection):
    """Stores of this process, which pipelines find by their names."""
    rows = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    documents = [
        Document(
            content=row["text"],
            meta={"doc_id": row["_id"], "n": n, "rating": n % 5, "title": "", "source_id": f"s{n // 4}", "split_id": n % 4},
        )
        for n, row in enumerate(rows)
    ]
    splitter = HierarchicalDocumentSplitter(block_sizes={20, 3}, split_overlap=0, split_by="word")
    parts = splitter.run(documents)["documents"]
    filled = {
        "others": MockDocumentEmbedder(dimension=16).run(documents)["documents"],
        "others-leaves": [part for part in parts if not part.meta["__children_ids"]],
        "others-parents": [part for part in parts if part.meta["__children_ids"]],
    }
    for name, contents in filled.items():
        InMemoryDocumentStore(index=name).write_documents(contents)
    yield
    for name in filled:
        store = InMemoryDocumentStore(index=name)
        store.delete_documents([document.id for document in store.filter_documents()])


@pytest.fixture(scope="module")
def files(cross_encoder, tmp_path_factory):
    """The YAML files, with the tiny model."""
    folder = tmp_path_factory.mktemp("others")
    for path in FOLDER.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text().replace("CROSS_ENCODER", str(cross_encoder)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


@pytest.fixture(scope="module")
def searchers(files):
    """A loaded searcher for each; made when it is needed."""
    made = {}

    def searcher(name):
        if name not in made:
            made[name] = Searcher(load_pipeline(files[name]), name=name)
            made[name].warm_up()
        return made[name]

    return searcher


def test_every_file_is_known_here(files):
    assert list(files) == sorted(STAGES)
    assert len(files) >= 12


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_told_without_names_of_ours(name, files):
    staged = split_stages(name, read_pipeline(files[name]))
    candidates, ranker, remark = STAGES[name]
    assert staged.candidates == candidates
    assert (staged.sockets.component if staged.sockets else None) == ranker
    assert staged.remark == remark
    assert not staged.searches_an_index


@pytest.mark.parametrize("name", STAGES)
def test_it_is_searched(name, searchers):
    searcher = searchers(name)
    result = searcher.search(QUERY, top_k=3, sentences=True)
    assert 1 <= len(result.hits) <= 3
    assert [hit.rank for hit in result.hits] == list(range(1, len(result.hits) + 1))
    assert all(hit.sentence for hit in result.hits)
    ranker = STAGES[name][1]
    if ranker is not None:
        assert ranker in result.milliseconds
        if name not in WIDENING:
            assert all(hit.first_stage_rank >= 1 for hit in result.hits)
    assert not {"llm", "answer_builder", "prompt_builder"} & set(result.milliseconds) or name == "hyde"


@pytest.mark.parametrize("name", sorted(STAGES.keys() - WIDENING))
def test_filters_reach_every_retriever(name, searchers):
    filters = {"field": "meta.n", "operator": "<", "value": 5}
    hits = searchers(name).search(QUERY, filters=filters, top_k=16, candidates=16).hits
    assert hits
    assert all(hit.document.meta["n"] < 5 for hit in hits)


@pytest.mark.parametrize("name", [name for name, (_, ranker, _) in STAGES.items() if ranker])
def test_candidates_bound_each_retriever_and_the_ranker_can_be_left_out(name, searchers):
    searcher = searchers(name)
    ranked = searcher.search(QUERY, candidates=2, top_k=16)
    if name not in WIDENING:
        assert len(ranked.hits) <= 2 * max(1, len(searcher.shape.retrievers)) * (3 if name == "query_expansion" else 1)
    plain = searcher.search(QUERY, candidates=2, top_k=2, rerank=False)
    assert len(plain.hits) == 2
    assert STAGES[name][1] not in plain.milliseconds
    assert plain.status is None


def test_stages_that_cannot_be_told_apart_cannot_be_left_out(searchers):
    with pytest.raises(InvalidValueError, match="ranked_branches cannot be searched without its second stage: documents of"):
        searchers("ranked_branches").search(QUERY, rerank=False)


def test_what_ranks_after_the_ranker_gets_its_whole_list(searchers):
    hits = searchers("metadata_ranking").search(QUERY, top_k=3).hits
    assert [hit.document.meta["rating"] for hit in hits] == sorted(
        (hit.document.meta["rating"] for hit in hits), reverse=True
    )


@pytest.mark.slow
def test_all_are_evaluated_and_those_with_two_stages_stage_by_stage(files, collection, searchers):
    result = run_evaluation(EvalRequest(str(collection), pipelines=list(map(str, files.values())), candidates=16))
    assert result.failures == []
    assert set(result.outcomes) == set(STAGES)
    assert result.remarks == {name: remark for name, (_, _, remark) in STAGES.items() if remark}
    for name, (_, ranker, _) in STAGES.items():
        assert {answer.second_stage for answer in result.outcomes[name]} == {ranker or ""}, name
        stages = {row.stage for row in result.latencies if row.system == name}
        assert stages == ({"first stage", "second stage", "together"} if ranker else {"together"})
    # What is measured is what a user gets from the ranker. All documents are candidates, so the order says everything.
    for name in ("hybrid_with_ranker", "super_component", "router_fallback", "query_classification"):
        ranked = Searcher(load_pipeline(files[name]), until="ranked").search(QUERIES["q1"], top_k=16, candidates=16).hits
        (answer,) = [answer for answer in result.outcomes[name] if answer.query == "q1"]
        assert answer.documents == [hit.document.meta["doc_id"] for hit in ranked]
