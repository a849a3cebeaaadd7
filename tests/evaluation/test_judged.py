"""An index with judgements in place of a judged collection."""

import json
import random

import numpy as np
import pytest
from conftest import WORDS, grades_of_a_judge

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.judged import JudgedQueries, PairedDifference, queries_needed
from rerank_plugin.indexing import index_paths
from rerank_plugin.judgements.export import export_index
from rerank_plugin.judgements.judgements import Judgement, Judgements
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

QUERIES = 50


def write_corpus(folder):
    """Passages of random words, so that some are found by every query."""
    chance = random.Random(3)
    folder.mkdir()
    rows = [{"_id": f"d{n}", "title": "", "text": " ".join(chance.sample(WORDS, 9))} for n in range(120)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries = [f"{' '.join(chance.sample(WORDS[20:], 3))} {number}" for number in range(QUERIES)]
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": f"q{n}", "text": q}) for n, q in enumerate(queries)))
    return queries


@pytest.fixture(scope="module")
def judged(tmp_path_factory, repository, cross_encoder):
    """An index in which 50 queries were judged, as `judged/index`, and the YAML of a small second stage."""
    folder = tmp_path_factory.mktemp("judged")
    queries = write_corpus(folder / "corpus")
    index_paths([folder / "corpus"], folder / "index", pipeline="indexing_keyword")
    judgements = Judgements.open(folder / "index")
    chance = random.Random(5)
    for query in queries:
        hits = judgements.store.bm25_retrieval(query, top_k=20)
        grades = grades_of_a_judge(cross_encoder, query, [hit.content for hit in hits], chance)
        given = [Judgement(hit.id, grade, "script") for hit, grade in zip(hits, grades, strict=True)]
        judgements.judge_all(query, given)
    judgements.add_queries(["never judged"])
    judgements.close()
    text = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder))
    (folder / "tiny_rerank.yaml").write_text(text)
    return folder


def evaluate(rerank, folder, *arguments, output):
    pipelines = ["--pipeline", "bm25", "--pipeline", folder / "tiny_rerank.yaml"]
    done = rerank("eval", *arguments, *pipelines, "--candidates", 20, "--output", output, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_an_index_gives_the_figures_of_the_same_judgements_in_files(rerank, judged, tmp_path):
    """The bar: nDCG of 50 judged queries, to 1e-9."""
    export_index(judged / "index", tmp_path / "files")
    qrels = [
        line for split in ("dev", "test") for line in (tmp_path / "files/qrels" / f"{split}.tsv").read_text().splitlines()
    ]
    (tmp_path / "all.tsv").write_text("\n".join(dict.fromkeys(qrels)) + "\n")
    ours = evaluate(rerank, judged, judged / "index", "--split", "all", output=tmp_path / "one")
    files = ["--index", judged / "index", "--qrels", tmp_path / "all.tsv"]
    theirs = evaluate(rerank, judged, tmp_path / "files", *files, output=tmp_path / "two")
    assert ours["queries"] == theirs["queries"] == QUERIES
    for name, system in ours["systems"].items():
        for measure, values in system["per_query"].items():
            assert values == pytest.approx(theirs["systems"][name]["per_query"][measure], abs=1e-9), (name, measure)
        assert system["measures"]["nDCG@10"] > 0.05


@pytest.mark.slow
def test_an_index_is_searched_as_it_is_and_split_by_query(rerank, judged, tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    counts = {}
    for split in ("dev", "test", "all"):
        done = rerank(*("eval", judged / "index", "--split", split, "--pipeline", "bm25", "-o", tmp_path / split, "--json"))
        assert done.returncode == 0, done.stderr
        counts[split] = json.loads(done.stdout)["queries"]
    assert counts["dev"] + counts["test"] == counts["all"] == QUERIES
    assert min(counts.values()) > QUERIES / 4
    assert not (tmp_path / "cache" / "indexes").exists()
    done = rerank("eval", judged / "index", "--split", "none", "--pipeline", "bm25", "-o", tmp_path / "none")
    assert (done.returncode, done.stderr) == (
        1,
        "error: an index has no split 'none': choose one of ['dev', 'test', 'all']\n",
    )


@pytest.mark.slow
def test_calibrate_mine_and_train_take_an_index(rerank, judged, tmp_path, cross_encoder):
    pipeline = ["--pipeline", judged / "tiny_rerank.yaml"]
    done = rerank("calibrate", judged / "index", *pipeline, "--candidates", 20, "-o", tmp_path / "c.json", "--json")
    assert done.returncode == 0, done.stderr
    assert Calibration.load(tmp_path / "c.json").fitted_on["split"] == "dev"
    done = rerank("mine", judged / "index", "-o", tmp_path / "mined.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    mined = {json.loads(line)["query"] for line in (tmp_path / "mined.jsonl").read_text().splitlines()}
    options = ["--model", cross_encoder, "--epochs", 1, "--fast", "--test", f"{judged / 'index'}:test"]
    done = rerank("train", judged / "index", "-o", tmp_path / "model", *options, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["pairs"] > len(mined)
    assert list(summary["figures"]) == ["index, test"]
    pairs = next((tmp_path / "model" / "mined").glob("*.jsonl")).read_text().splitlines()
    assert {json.loads(line)["query"] for line in pairs} == mined, "training has the queries of dev, and no others"
    done = rerank("train", judged / "index", "-o", tmp_path / "model", *options[:5], "--dev", judged / "index")
    assert done.returncode == 1
    assert "query of the dev or test split" in done.stderr


@pytest.mark.slow
def test_pipelines_are_compared_on_the_judged_queries(judged, monkeypatch):
    queries = JudgedQueries(judged / "index")
    found = queries.evaluate(["bm25", str(judged / "tiny_rerank.yaml")])
    assert (found.queries, found.failed) == (QUERIES, 0)
    assert [figure.name for figure in found.pipelines] == ["bm25", "tiny_rerank"]
    for figure in found.pipelines:
        assert figure.interval[0] <= figure.ndcg <= figure.interval[1]
    (difference,) = found.differences
    assert difference.difference == pytest.approx(found.pipelines[1].ndcg - found.pipelines[0].ndcg)
    assert difference.decided == (difference.needs is None)
    assert found.words.startswith("nDCG@10 on 50 judged queries with a relevant document: bm25 0.")
    again = queries.evaluate(["bm25", str(judged / "tiny_rerank.yaml")])
    assert again == found
    assert queries.evaluate(["bm25"], split="dev").queries < QUERIES


def test_nothing_judged_is_one_line(tmp_path, rerank):
    (tmp_path / "a.txt").write_text("fox")
    index_paths([tmp_path / "a.txt"], tmp_path / "index", pipeline="indexing_keyword")
    done = rerank("eval", tmp_path / "index", "--pipeline", "bm25", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "has no judged queries in split 'test' (0 in dev, 0 in test): judge queries with `rerank judge`" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(InvalidValueError, match="has no judged queries in split 'all'"):
        JudgedQueries(tmp_path / "index").evaluate(["bm25"])


def test_the_queries_that_a_decision_needs_follow_from_the_variance_of_the_differences():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.1, 0.3, size=4000)
    # (1.960 + 0.842)^2 * (0.3 / 0.1)^2 = 70.6
    assert queries_needed(differences) == pytest.approx(71, abs=6)
    assert queries_needed(-differences) == queries_needed(differences)
    assert queries_needed(np.full(5, 0.2)) == 10, "fewer than ten queries decide nothing"
    assert queries_needed(np.zeros(20)) is None
    assert queries_needed(np.array([0.5])) == 10
    assert queries_needed(np.array([1e-4, *([0.5, -0.5] * 10)])) is None, "nobody judges so many"


def test_a_difference_in_words():
    decided = PairedDifference("bm25", "new", 0.1, (0.05, 0.15), True, None)
    assert str(decided) == ("new is better than bm25 by 0.100 nDCG@10 (95 % interval of new minus bm25: +0.050 to +0.150).")
    open_ = PairedDifference("bm25", "new", -0.1, (-0.3, 0.1), False, 38)
    assert str(open_).startswith("bm25 is ahead of new by 0.100")
    assert str(open_).endswith("a decision needs about 38 more judged queries.")
