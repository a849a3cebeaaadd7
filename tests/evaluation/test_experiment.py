"""Experiments: shared work gives the same results as separate work, and no finished work is lost."""

import pytest
from haystack import Document
from haystack.core.component import component
from haystack.core.serialization import allow_deserialization_module

from rerank_plugin.errors import ModelError, PipelineConfigError
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.indexing import index_paths
from rerank_plugin.pipelines import read_pipeline

QUERIES = {"q1": "capital of france", "q2": "red fox", "q3": "coffee and tea", "q4": "where are the books"}


@component
class MoodyRanker:
    """Fails on some queries."""

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int) -> dict[str, list[Document]]:
        if "fox" in query:
            raise RuntimeError("I do not like\nfoxes")
        return {"documents": documents[:top_k][::-1]}


@pytest.fixture(scope="module")
def index(collection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment") / "index"
    index_paths([collection], folder, pipeline="indexing_keyword")
    return folder


def pipeline(index, name, model=None, *, candidates=None, **ranker):
    data = read_pipeline("bm25_rerank" if model else "bm25", index=index)
    if model:
        data["components"]["ranker"]["init_parameters"].update(
            {"model": str(model), "fusion": "none", "fusion_weight": None, **ranker}
        )
    if candidates:  # another first stage with the same ranker
        data["components"]["bm25_retriever"]["init_parameters"]["filters"] = {
            "field": "meta.doc_id",
            "operator": "in",
            "value": candidates,
        }
    return split_stages(name, data)


def moody(index):
    allow_deserialization_module(__name__)
    data = read_pipeline("bm25_rerank", index=index)
    data["components"]["ranker"] = {"type": f"{__name__}.MoodyRanker", "init_parameters": {}}
    return split_stages("moody", data)


def run(pipelines, folder=None, queries=QUERIES, candidates=12):
    return Experiment(ExperimentSettings(candidates, folder)).run(pipelines, queries)


def rankings(outcomes):
    return [(answer.query, answer.documents, answer.first_ranks) for answer in outcomes]


@pytest.mark.slow
def test_pipelines_that_share_a_ranker_rank_as_each_does_alone(index, cross_encoder):
    few = [f"d{i}" for i in range(0, 16, 2)]
    first = pipeline(index, "bm25")
    both = [first, pipeline(index, "all", cross_encoder), pipeline(index, "few", cross_encoder, candidates=few)]
    together = run(both)
    for staged in both:
        (alone,) = run([staged]).values()
        assert rankings(together[staged.name]) == rankings(alone)
    assert all(answer.pairs == len(answer.documents) for name in ("all", "few") for answer in together[name])
    assert {d for answer in together["few"] for d in answer.documents} <= set(few)
    # Each is timed alone on every second query; the first stage always.
    timed = {name: ["ranker" in answer.milliseconds for answer in together[name]] for name in ("all", "few")}
    assert timed == {"all": [True, False] * 2, "few": [False, True] * 2}
    assert all("bm25_retriever" in answer.milliseconds for answers in together.values() for answer in answers)


def test_u6_the_ranked_list_is_measured_whatever_is_collapsed_behind_it(index, cross_encoder):
    """The collection has each sentence twice, alike but for a few words."""
    data = read_pipeline("bm25_rerank", index=index)
    data["components"]["ranker"]["init_parameters"].update(
        {"model": str(cross_encoder), "fusion": "none", "fusion_weight": None}
    )
    strict = {**data, "components": {**data["components"]}}
    strict["components"]["collapser"] = {
        **data["components"]["collapser"],
        "init_parameters": {"top_k": 1, "threshold": 0.01, "shingle_size": 1},
    }
    without = {
        "components": {name: part for name, part in data["components"].items() if name != "collapser"},
        "connections": [edge for edge in data["connections"] if not edge["receiver"].startswith("collapser")],
    }
    staged = [split_stages(name, content) for name, content in (("with", strict), ("without", without))]
    answers = run(staged)
    assert rankings(answers["with"]) == rankings(answers["without"])
    assert max(len(answer.documents) for answer in answers["with"]) > 1


def test_rankers_whose_scores_depend_on_the_candidates_share_no_work(index, cross_encoder):
    settings = {"fusion": "linear", "fusion_weight": 0.5}
    pipelines = [
        pipeline(index, "all", cross_encoder, **settings),
        pipeline(index, "few", cross_encoder, candidates=["d0", "d1", "d2"], **settings),
    ]
    assert all("ranker" in answer.milliseconds for answers in run(pipelines).values() for answer in answers)


@pytest.mark.slow
def test_an_interrupted_experiment_resumes_and_answers_nothing_twice(index, cross_encoder, tmp_path, monkeypatch):
    pipelines = [pipeline(index, "bm25"), pipeline(index, "bm25_rerank", cross_encoder)]
    whole = run(pipelines)
    run(pipelines, tmp_path, dict(list(QUERIES.items())[:2]))
    answered = (tmp_path / "bm25_rerank.jsonl").read_text()
    with (tmp_path / "bm25_rerank.jsonl").open("a") as file:
        file.write('{"settings": "half a li')  # a kill in the middle of a line
    resumed = run(pipelines, tmp_path)
    assert {name: rankings(answers) for name, answers in resumed.items()} == {
        name: rankings(answers) for name, answers in whole.items()
    }
    lines = (tmp_path / "bm25_rerank.jsonl").read_text().splitlines()
    assert "\n".join(lines[:2]) + "\n" == answered
    assert len(lines) == 5  # two, the truncated one, and the two missing ones
    monkeypatch.setattr("rerank_plugin.evaluation.stage_runners.SecondStage.rank", None)  # nothing is left to rank
    assert rankings(run(pipelines, tmp_path)["bm25_rerank"]) == rankings(whole["bm25_rerank"])


@pytest.mark.slow
def test_answers_of_other_settings_are_not_reused(index, cross_encoder, tmp_path):
    staged = pipeline(index, "p", cross_encoder)
    run([staged], tmp_path)
    before = (tmp_path / "p.jsonl").read_text()
    for other in ({"candidates": 3}, {"staged": pipeline(index, "p", cross_encoder, query_prefix="x ")}):
        answers = run([other.get("staged", staged)], tmp_path, candidates=other.get("candidates", 12))["p"]
        after = (tmp_path / "p.jsonl").read_text()
        assert after.startswith(before)
        assert after != before
        assert len(answers) == 4
        before = after


def test_a_failed_query_is_kept_as_failed_and_tried_again(index, tmp_path):
    answers = {answer.query: answer for answer in run([moody(index)], tmp_path)["moody"]}
    assert [query for query, answer in answers.items() if answer.has_failed] == ["q2"]
    assert answers["q2"].documents == []
    assert "I do not like foxes" in answers["q2"].error
    assert answers["q1"].first_ranks == list(range(len(answers["q1"].documents), 0, -1))
    run([moody(index)], tmp_path)
    assert (tmp_path / "moody.jsonl").read_text().count('"q2"') == 2
    assert (tmp_path / "moody.jsonl").read_text().count('"q1"') == 1


def test_what_cannot_be_loaded_is_an_error_at_once(index, tmp_path):
    with pytest.raises((ModelError, PipelineConfigError), match="no-such-model"):
        run([pipeline(index, "p", "no-such-model")], tmp_path)
    assert not (tmp_path / "p.jsonl").exists()


def test_two_pipelines_with_the_same_name_are_an_error(index, cross_encoder):
    with pytest.raises(PipelineConfigError, match=r"several pipelines have the name \['p'\]"):
        run([pipeline(index, "p"), pipeline(index, "p", cross_encoder)])


def test_a_pipeline_is_split_at_its_ranker():
    staged = split_stages("rag", read_pipeline("rag_rerank"))
    assert staged.candidates == ["bm25_retriever.documents"]
    assert set(staged.first["components"]) == {"bm25_retriever"}
    assert staged.ranker is not None
    hybrid, reranked = split_stages("a", read_pipeline("hybrid")), split_stages("b", read_pipeline("hybrid_rerank"))
    assert hybrid.first_key == reranked.first_key
    assert hybrid.candidates == reranked.candidates == ["joiner.documents"]
    assert split_stages("c", read_pipeline("dense")).needs_vectors


def test_a_pipeline_that_cannot_search_is_an_error():
    parts = read_pipeline("bm25_rerank")["components"]
    with pytest.raises(PipelineConfigError, match="pipeline x cannot search: none of its components"):
        split_stages("x", {"components": {"ranker": parts["ranker"]}, "connections": []})
    loose = {name: parts[name] for name in ("bm25_retriever", "ranker")}
    with pytest.raises(PipelineConfigError, match=r"choose one with `outputs: \{documents: SOCKET\}`"):
        split_stages("x", {"components": loose, "connections": []})
