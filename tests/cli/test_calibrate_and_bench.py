"""`rerank calibrate` and `rerank bench` on a small model and a small collection."""

import json
import shutil

import pytest
import typer
from conftest import write_cross_encoder

from rerank_plugin.cli import app
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.bench.material import Case, parse_case
from rerank_plugin.indexing import index_paths
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_cross_encoder(tmp_path_factory.mktemp("models") / "reranker", seed=5)


@pytest.fixture(scope="module")
def setting(collection, model, tmp_path_factory, repository):
    """An index of the collection, and a pipeline with the small model."""
    folder = tmp_path_factory.mktemp("calibrate")
    index_paths([collection], folder / "index", pipeline="indexing_keyword")
    yaml = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(model))
    (folder / "pipeline.yaml").write_text(yaml)
    return folder


def options(setting):
    return ["--index", setting / "index", "--pipeline", setting / "pipeline.yaml"]


@pytest.mark.slow
def test_calibrate_writes_what_the_ranker_reads(rerank, collection, setting, model, tmp_path):
    done = rerank("calibrate", collection, *options(setting), "--output", tmp_path / "c.json", "--json")
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)
    assert (lines["queries"], lines["relevant"]) == (4, 4)
    assert lines["calibration error after"] <= lines["calibration error before"]
    calibration = Calibration.load(tmp_path / "c.json")
    assert calibration.scale == pytest.approx(json.loads((tmp_path / "c.json").read_text())["scale"])
    assert set(calibration.fusion_weights) == {"rrf", "linear", "log_linear"}
    assert calibration.fitted_on["dataset"] == "tiny"
    assert calibration.fitted_on["verdict"] == lines["verdict"]
    assert "the second stage does not pay" in lines["verdict"], "four queries prove nothing"
    assert calibration.fitted_on["fusion"]["method"] in ("none", "linear", "log_linear", "rrf")


@pytest.mark.slow
def test_u11_calibrate_indexes_the_collection_itself(rerank, collection, setting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no folder `index`
    done = rerank("calibrate", collection, "--pipeline", setting / "pipeline.yaml", "--split", "dev", "--output", "c.json")
    assert done.returncode == 0, done.stderr
    assert Calibration.load(tmp_path / "c.json").fitted_on["split"] == "dev"
    assert list(tmp_path.iterdir()) == [tmp_path / "c.json"]


def test_u11_the_language_has_one_option_in_every_command():
    for name, command in typer.main.get_command(app).commands.items():
        options = {option for parameter in command.params for option in parameter.opts if "lang" in option}
        assert options <= {"--language"}, name


@pytest.mark.slow
def test_calibrate_writes_into_the_models_folder(rerank, collection, setting, model):
    assert rerank("calibrate", collection, *options(setting)).returncode == 0
    assert Calibration.load(model / "calibration.json").fitted_on["split"] == "dev"
    (model / "calibration.json").unlink()


def test_a_pipeline_without_a_ranker_cannot_be_calibrated(rerank, collection, setting):
    done = rerank("calibrate", collection, "--index", setting / "index", "--pipeline", "bm25", "--output", "x.json")
    assert done.returncode == 1
    assert "no CrossEncoderRanker as second stage: nothing can be calibrated" in done.stderr


def test_a_bundled_model_needs_a_place_for_its_calibration(rerank, collection, setting):
    done = rerank("calibrate", collection, "--index", setting / "index")
    assert done.returncode == 1
    assert "--output FILE" in done.stderr


def test_unknown_methods_splits_and_languages_are_errors(rerank, collection, setting, tmp_path, repository):
    out = ["--output", tmp_path / "c.json"]
    assert "choose one of" in rerank("calibrate", collection, *options(setting), *out, "--method", "isotonic").stderr
    assert "no split 'train'" in rerank("calibrate", collection, *options(setting), *out, "--split", "train").stderr
    bilingual = rerank(
        "calibrate", repository / "sample_corpus", *options(setting), *out, "--language", "xx", "--split", "test"
    )
    assert "no judged queries" in bilingual.stderr
    assert not (tmp_path / "c.json").exists()


def test_judgements_of_another_collection_are_an_error(rerank, collection, setting, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(collection, other)
    (other / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tzz\t1\n")
    done = rerank("calibrate", other, *options(setting), "--output", tmp_path / "c.json")
    assert "0 are judged relevant" in done.stderr


@pytest.mark.slow
def test_bench_measures_all_systems_on_the_same_pairs(rerank, collection, model, tmp_path):
    systems = ["--system", "stock", "--system", "torch:fp32", "--system", "openvino:fp32"]
    cases = ["--case", "3x8", "--case", "5x4-40", "--rounds", 2, "--queries", 3]
    done = rerank("bench", collection, "--model", model, *systems, *cases, "--output", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(row["case"], row["system"]) for row in found["speed"]][:3] == [
        ("3 x 8", "stock"),
        ("3 x 8", "torch:fp32"),
        ("3 x 8", "openvino:fp32"),
    ]
    assert all(row["median ms"] > 0 for row in found["speed"])
    assert {row["speed"] for row in found["speed"] if row["system"] == "stock"} == {1.0}
    assert all(row["best ms"] <= row["median ms"] <= row["p95 ms"] for row in found["speed"])
    assert [(row["case"], row["system"]) for row in found["work"]] == [
        (row["case"], row["system"]) for row in found["speed"]
    ]
    assert all(row["us/token"] > 0 for row in found["work"])
    for row in found["work"]:
        assert 0 < row["model"] < 1
        assert row["tokenizing"] is None if row["system"] == "stock" else 0 < row["tokenizing"] < 1 - row["model"]
    assert "in turn" not in found["work"][0]
    stock, torch, openvino = found["quality"]
    assert stock["nDCG@10"] == torch["nDCG@10"] == openvino["nDCG@10"]
    assert torch["Spearman"] == pytest.approx(1.0)
    assert "memory" not in found
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "| case | system |" in (tmp_path / "bench.md").read_text()
    assert json.loads((tmp_path / "bench.json").read_text())["facts"]["collection"] == "tiny"


@pytest.mark.slow
def test_bench_measures_the_memory_of_each_system(rerank, collection, model, tmp_path):
    # Each is measured in a process of its own: these two load neither torch nor transformers to rank.
    systems = ["--system", "auto:auto", "--system", "openvino:fp32", "--case", "2x8", "--rounds", 2, "--queries", 0]
    done = rerank("bench", collection, "--model", model, *systems, "--memory", "20x40", "--output", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    memory = json.loads(done.stdout)["memory"]
    assert [row["system"] for row in memory] == ["auto:auto", "openvino:fp32"]
    assert all(row["peak MB"] >= 0 for row in memory)


@pytest.mark.slow
def test_bench_measures_several_calls_at_a_time(rerank, collection, model, tmp_path):
    systems = ["--system", "stock", "--system", "openvino:fp32", "--concurrency", 3]
    done = rerank("bench", collection, "--model", model, *systems, "--case", "4x8", "--rounds", 2, "--queries", 0,
                  "--output", tmp_path, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row["in turn"] > 0 for row in json.loads(done.stdout)["work"]] == [True, True]
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert kept["facts"]["callers"] == 3
    rounds = kept["rounds"]["4 x 8"]["stock"]
    assert [len(one["calls"]) for one in rounds] == [3, 3]
    assert all(max(one["calls"]) <= one["total"] for one in rounds)


@pytest.mark.slow
def test_bench_counts_the_tokens_that_the_model_reads(rerank, collection, model, tmp_path):
    """The small model reads 64 tokens: what is cut off is nobody's work."""
    done = rerank("bench", collection, "--model", model, "--system", "stock", "--system", "openvino:fp32", "--case", "5x300",
                  "--rounds", 2, "--queries", 0, "--output", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for one in json.loads((tmp_path / "bench.json").read_text())["rounds"]["5 x 300"]["stock"]:
        assert one["tokens"] == 5 * 64


@pytest.mark.slow
def test_bench_measures_a_shape_of_random_weights(rerank, collection, tmp_path):
    done = rerank("bench", collection, "--model", "random:ettin-17m", "--system", "stock", "--system", "openvino:fp32",
                  "--case", "2x8", "--rounds", 2, "--output", tmp_path, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["system"] for row in found["speed"]] == ["stock", "openvino:fp32"]
    assert "quality" not in found


@pytest.mark.slow
def test_bench_shows_a_table(rerank, collection, model, tmp_path):
    done = rerank(
        "bench", collection, "--model", model, "--case", "2x8", "--rounds", 2, "--queries", 0, "--output", tmp_path,
        "--system", "stock", "--system", "torch:fp32",
    )  # fmt: skip
    assert "median ms" in done.stdout
    assert "torch:fp32" in done.stdout


@pytest.mark.parametrize("text", ["100", "x90", "axb", "0x5", "5x0", "3x4-b"])
def test_a_case_that_is_none_says_how_to_write_one(text):
    with pytest.raises(InvalidValueError, match="not a case"):
        parse_case(text)


def test_cases_are_read():
    assert parse_case("100x90") == Case((90, 90), 100)
    assert parse_case("7x20-512").name == "7 x 20-512"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--system", "stock"], "at least two systems"),
        (["--system", "stock", "--system", "fast"], "BACKEND:PRECISION"),
        (["--rounds", "1"], "two rounds"),
        (["--case", "many"], "not a case"),
        (["--concurrency", "0"], "concurrency"),
        (["--model", "random:ettin-17m", "--queries", "3"], "random weights, which rank nothing: give --queries 0"),
        (["--model", "random:bert"], "choose one of ettin-17m"),
    ],
)
def test_what_cannot_be_measured_is_an_error(rerank, collection, model, extra, named, tmp_path):
    done = rerank("bench", collection, "--model", model, "--output", tmp_path / "out", *extra)
    assert done.returncode == 1
    assert named in done.stderr
    assert not (tmp_path / "out").exists()
