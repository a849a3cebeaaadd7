"""Invalid requests are refused before a model is loaded: no model here can be loaded."""

import json
import shutil

import pytest

from rerank_plugin.errors import InputFileError, InvalidValueError, ModelError
from rerank_plugin.evaluation.bench.command import BenchRequest
from rerank_plugin.evaluation.bench.run import check_bench
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.judged_candidates import score_candidates
from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.evaluation.run import run_evaluation
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.indexing import index_paths
from rerank_plugin.pipelines import read_pipeline
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL


@pytest.fixture
def broken(repository, tmp_path):
    """A pipeline whose model cannot be loaded."""
    (tmp_path / "model").mkdir()
    text = (repository / "pipelines" / "bm25_rerank.yaml").read_text()
    (tmp_path / "broken.yaml").write_text(text.replace(DEFAULT_MODEL, str(tmp_path / "model")))
    return str(tmp_path / "broken.yaml")


@pytest.fixture(scope="module")
def index(collection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals") / "index"
    index_paths([collection], folder, pipeline="indexing_keyword")
    return folder


@pytest.fixture
def own(collection, tmp_path):
    shutil.copytree(collection, tmp_path / "own")
    return tmp_path / "own"


def judge(folder, *lines, split="dev"):
    (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


def test_t12_calibrate_checks_the_judgements_before_loading_the_model(rerank, own, broken, index, tmp_path):
    options = ["--index", index, "--pipeline", broken, "--output", tmp_path / "c.json"]
    model = str(tmp_path / "model")
    assert model in rerank("calibrate", own, *options).stderr  # here the model is at fault
    judge(own, "q1\tzz\t1", "q2\tzz\t1")
    done = rerank("calibrate", own, *options)
    assert done.returncode == 1
    assert "0 are judged relevant; check that the index was made from the same collection" in done.stderr
    for extra in (["--method", "isotonic"], ["--candidates", 0], ["--limit", 0], ["--output", tmp_path]):
        done = rerank("calibrate", own, *options, *extra)
        assert done.returncode == 1
        assert model not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_t12_candidates_that_are_all_relevant_are_refused_too(own, broken, index):
    judge(own, *(f"q1\td{i}\t1" for i in range(16)))
    queries, qrels = open_collection(own, split="dev").judged()
    staged = split_stages("p", read_pipeline(broken, index=index))
    with pytest.raises(InvalidValueError, match="nothing can be fitted"):
        score_candidates(staged, queries, qrels, depth=16)
    judge(own, "q1\td0\t1")
    queries, qrels = open_collection(own, split="dev").judged()
    with pytest.raises(ModelError):
        score_candidates(staged, queries, qrels, depth=16)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["q1\tzz\t1"], "none of the 1 documents that are judged relevant, such as 'zz', is in"),
        (["q1\td0\t0", "q2\td1\t-1"], "none of 2 judged queries of own has a relevant document"),
        (["x1\td0\t1"], "it judges 1 queries, such as 'x1', but none of them is in queries.jsonl"),
    ],
)
def test_t12_judgements_that_do_not_belong_to_the_collection_are_named(own, broken, lines, message):
    judge(own, *lines, split="test")
    with pytest.raises(InvalidValueError, match=message):
        run_evaluation(EvalRequest(str(own), pipelines=[broken]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measures": ["nDGC@10"]}, "unknown measure"),
        ({"measures": ["nDCG@0"]}, "cutoff must be a whole number from 1"),
        ({"measures": ["ERR@20", "alpha_nDCG@10"]}, "cannot be calculated here"),
        ({"measures": "nDCG@10"}, "measures must be a list"),
        ({"baseline": "nope"}, "unknown baseline 'nope'"),
        ({"limit": 0}, "limit must be a whole number of at least 1"),
        ({"limit": -5}, "limit must be a whole number of at least 1"),
        ({"candidates": 0}, "candidates must be a whole number of at least 1"),
    ],
)
def test_t12_an_invalid_request_is_refused_first(collection, broken, changes, message):
    with pytest.raises(InvalidValueError, match=message):
        run_evaluation(EvalRequest(str(collection), **{"pipelines": [broken], **changes}))


def test_t12_a_run_of_other_judgements_is_refused(own, broken, tmp_path):
    (tmp_path / "other.run").write_text("z1 Q0 d0 1 2 x\n")
    with pytest.raises(
        InvalidValueError, match=r"run 'peer' .* answers none of the 4 judged queries, but queries such as 'z1'"
    ):
        run_evaluation(EvalRequest(str(own), pipelines=[broken], runs={"peer": tmp_path / "other.run"}))


def test_a_lang_that_is_not_text_is_named(own, broken):
    rows = [json.loads(line) for line in (own / "queries.jsonl").read_text().splitlines()]
    rows[1]["metadata"] = {"lang": ["en"]}
    (own / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputFileError, match=r"query 'q2' .* 'lang' must be a string"):
        run_evaluation(EvalRequest(str(own), pipelines=[broken]))


@pytest.mark.slow
def test_an_index_needs_no_corpus_beside_it(rerank, own, index, tmp_path):
    (own / "corpus.jsonl").unlink()
    (tmp_path / "x.run").write_text("q1 Q0 d9 1 2 x\n")
    done = rerank(
        *("eval", own, "--pipeline", "bm25", "--run", tmp_path / "x.run", "--index", index, "--output", tmp_path / "out")
    )
    assert done.returncode == 0, done.stderr
    assert "largest gains and losses" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("candidates=" + "9" * 5000, "from 1 to 1000000"),
        ("windows=all", "unknown value 'all'"),
        ("precision=fp4", "unknown value 'fp4'"),
        ("fusion=linear:nan", "write none, or METHOD:WEIGHT"),
    ],
)
def test_t12_a_grid_is_checked_before_anything_is_scored(rerank, collection, broken, tmp_path, grid, message):
    done = rerank("eval", collection, "--sweep", "--pipeline", broken, "--grid", grid, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": ["stock", "fast"]}, "BACKEND:PRECISION"),
        ({"systems": ["stock", "fast:fp32"]}, "unknown backend 'fast'"),
        ({"systems": ["stock", "onnx:fp16"]}, "does not compute in 'fp16'"),
        ({"systems": ["stock", "stock"]}, "each system can be measured once"),
        ({"queries": -1}, "queries must be a whole number"),
        ({"cases": ["5x20-10"]}, "not a case"),
        ({"cases": ["9999999x1"]}, "not a case"),
        ({"memory": "x"}, "not a case"),
        ({"model": "no-such-model"}, "unknown model"),
    ],
)
def test_t12_a_benchmark_is_checked_before_anything_is_loaded(changes, message):
    with pytest.raises((InvalidValueError, ModelError), match=message):
        check_bench(BenchRequest(**{"dataset": None, "model": DEFAULT_MODEL, **changes}).settings())
