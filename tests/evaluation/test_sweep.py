"""Sweeps: every setting has the result of the ranker itself, and the choice is the cheapest that is good enough."""

import json

import numpy as np
import pytest

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation import evaluate
from rerank_plugin.evaluation.grid import Grid, Setting, parse_fusion, usual_fusions
from rerank_plugin.evaluation.pareto import choose
from rerank_plugin.indexing import index_paths
from rerank_plugin.pipelines import build_pipeline, read_pipeline
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.search import Searcher

QRELS = {f"q{i:02}": {"a": 1} for i in range(30)}
RIGHT, WRONG = {"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 2.0}


def setting(candidates):
    return Setting(candidates, "auto", "max", "none")


def runs_with(rights):
    """A run for each setting, with the given number of correct answers."""
    queries = list(QRELS)
    return {key: {q: RIGHT if i < right else WRONG for i, q in enumerate(queries)} for key, right in rights.items()}


def test_the_cheapest_that_is_not_significantly_worse_is_chosen():
    rights = {None: 2, setting(10): 27, setting(20): 30, setting(50): 29, setting(100): 30}
    times = {None: 1.0, setting(10): 10.0, setting(20): 20.0, setting(50): 50.0, setting(100): 100.0}
    result = choose("t", "RR", runs_with(rights), QRELS, times)
    assert result.best.setting == setting(20)
    assert result.choice.setting == setting(10)  # 3 of 30 lost: p is 0.25
    assert [point.setting for point in result.front] == [None, setting(10), setting(20)]
    assert [point.milliseconds for point in result.points] == sorted(times.values())
    first, ten = result.front[:2]
    assert (first.p_first, ten.p) == (1.0, pytest.approx(0.25, abs=0.02))
    assert first.p < 0.001
    assert ten.p_first < 0.001
    rights[setting(10)] = 15
    assert choose("t", "RR", runs_with(rights), QRELS, times).choice.setting == setting(20)


def test_the_first_stage_is_chosen_if_it_is_as_good():
    rights = {None: 30, setting(10): 28}
    result = choose("t", "RR", runs_with(rights), QRELS, {None: 1.0, setting(10): 10.0})
    assert (result.choice.setting, result.best.setting) == (None, None)
    assert result.choice.name == "first stage alone"


@pytest.mark.parametrize(("queries", "is_enough"), [(49, False), (50, True)])
def test_u11_a_choice_from_few_queries_comes_with_a_caution(queries, is_enough):
    qrels = {f"q{i}": {"a": 1} for i in range(queries)}
    runs = {key: dict.fromkeys(qrels, RIGHT) for key in (None, setting(10))}
    result = choose("t", "RR", runs, qrels, {None: 1.0, setting(10): 10.0}, troubles=["one"])
    assert result.troubles[0] == "one"
    assert [f"only {queries} judged queries" in line for line in result.troubles[1:]] == ([] if is_enough else [True])


@pytest.mark.slow
def test_every_setting_is_what_the_pipeline_gives(rerank, collection, repository, cross_encoder, tmp_path):
    yaml = tmp_path / "tiny.yaml"
    yaml.write_text((repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder)))
    grid = ["candidates=3,12", "precision=fp32", "windows=max,truncate", "fusion=none,linear:0.4,rrf:0.6"]
    done = rerank(
        *("eval", collection, "--sweep", "--pipeline", yaml, "--output", tmp_path / "out", "--json"),
        *(part for option in grid for part in ("--grid", option)),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["tried"]) == 1 + 2 * 2 * 3
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["choice"] == result["choice"]
    assert (tmp_path / "out" / "sweep.html").read_text().count("<svg") == 1
    index_paths([collection], tmp_path / "index", pipeline="indexing_keyword")
    queries = [json.loads(line) for line in (collection / "queries.jsonl").read_text().splitlines()]
    qrels = {
        line.split("\t")[0]: {line.split("\t")[1]: 1}
        for line in (collection / "qrels/test.tsv").read_text().splitlines()[1:]
    }
    for tried in result["tried"]:
        if tried["ranker"] is None:
            continue
        data = read_pipeline(yaml, index=tmp_path / "index")
        parameters = data["components"]["ranker"]["init_parameters"]
        parameters.update(tried["ranker"], scale_score=False)
        searcher = Searcher(build_pipeline(data, name="tiny"), until="ranked")
        depth = tried["candidates"]
        run = {
            q["_id"]: [hit.document for hit in searcher.search(q["text"], top_k=depth, candidates=depth).hits]
            for q in queries
        }
        assert evaluate(run, qrels, ["nDCG@10"]).means["nDCG@10"] == pytest.approx(tried["quality"], abs=1e-6)


def test_only_fusions_that_the_first_stage_allows_are_tried_unless_they_are_named():
    scores, without = np.array([0.8, -0.1]), np.array([np.nan, np.nan])
    methods = lambda firsts: {text.partition(":")[0] for text in usual_fusions(firsts)}  # noqa: E731
    assert methods(scores) == {"none", "rrf", "linear", "log_linear"}
    assert methods(without) == {"none", "rrf"}


def test_a_grid_from_the_command_line():
    grid = Grid.parse(["candidates=50,10", "fusion=none,rrf:1"])
    assert (grid.candidates, grid.fusion) == ((10, 50), ("none", "rrf:1"))
    assert grid.windows == Grid().windows
    assert Setting(50, "int8", "max", "rrf:0.5").ranker_parameters == {
        "precision": "int8",
        "window_aggregation": "max",
        "fusion": "rrf",
        "fusion_weight": 0.5,
    }


@pytest.mark.parametrize("text", ["linear", "none:1", "rrf:2", "rrf:x", "sum:0.5", ""])
def test_an_invalid_fusion_is_an_error(text):
    with pytest.raises(InvalidValueError, match="write none, or METHOD:WEIGHT"):
        parse_fusion(text)
