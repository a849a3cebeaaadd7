import json
import math
from pathlib import Path

import pytest
import yaml
from conftest import QUERIES, SENTENCES, write_cross_encoder
from haystack import Document

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.training.data.pairs import read_pairs


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("command") / "base", seed=3, spread=0.1)


@pytest.fixture
def judged(tmp_path) -> Path:
    """Queries for training, and others for evaluation."""
    folder = tmp_path / "judged"
    (folder / "qrels").mkdir(parents=True)
    texts = [*SENTENCES, *(f"{text} It is old." for text in SENTENCES)]
    (folder / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(texts))
    )
    queries = {"t1": "berlin", "t2": "dog", "t3": "the moon", "t4": "sea", **QUERIES}
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": id_, "text": text}) for id_, text in queries.items()))
    splits = {"train": {"t1": 1, "t2": 2, "t3": 5, "t4": 3}, "dev": {"q1": 0, "q2": 2}, "test": {"q3": 4, "q4": 6}}
    for split, relevant in splits.items():
        rows = [f"{query}\td{document}\t1" for query, document in relevant.items()]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    return folder


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.slow
def test_a_collection_becomes_a_model_with_figures_in_its_card(rerank, base, judged, tmp_path):
    output = tmp_path / "my-model"
    options = ["--model", base, "--epochs", 2, "--batch-size", 4, "--logging-steps", 1, "--fast", "--early-exit-layers", 1]
    measured = ["--dev", judged, "--eval-steps", 2, "--test", f"{judged}:test", "--licence", "mit"]
    done = rerank("train", judged, "-o", output, *options, *measured, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary["figures"]) == {"judged, dev", "judged, test"}
    assert summary["figures"]["judged, dev"]["first stage"] > 0
    card = (output / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "mit"
    assert front["pipeline_tag"] == "text-ranking"
    assert [one["dataset"]["name"] for one in front["model-index"][0]["results"]] == ["judged, dev", "judged, test"]
    for text in ("# my-model", "| judged, test | 2 |", "| step | nDCG@10 |", "- learning_rate: 5e-05", "| 1 | "):
        assert text in card, text
    ranker = CrossEncoderRanker(model=output, early_exit=2)
    assert len(ranker.run(query="dog", documents=[Document(content=text) for text in SENTENCES[:5]])["documents"]) == 2


@pytest.mark.slow
def test_the_model_is_a_plain_cross_encoder_of_sentence_transformers(rerank, base, judged, tmp_path):
    from safetensors import safe_open
    from sentence_transformers import CrossEncoder

    output = tmp_path / "model"
    assert rerank("train", judged, "-o", output, "--model", base, "--epochs", 1, "--max-length", 16).returncode == 0
    model = CrossEncoder(str(output))
    ranked = model.rank("dog", SENTENCES, return_documents=True)
    assert sorted(row["text"] for row in ranked) == sorted(SENTENCES)
    score = float(model.predict([("dog", SENTENCES[0])])[0])
    logit = CrossEncoderRanker(model=output, precision="fp32").logits("dog", [SENTENCES[0]])[0]
    assert score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-4)
    with safe_open(output / "model.safetensors", framework="np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118 - no dict
    settings = json.loads((output / "config.json").read_text())
    assert (settings["dtype"], settings["hidden_dropout_prob"]) == ("float32", 0.1)
    assert json.loads((output / "tokenizer_config.json").read_text())["model_max_length"] == 64, (
        "the cut of training must not stay"
    )


@pytest.mark.slow
def test_a_run_can_be_stopped_and_resumed(rerank, base, judged, tmp_path):
    options = ["--model", base, "--epochs", 4, "--batch-size", 4, "--preset", "msmarco-en"]
    first = rerank("train", judged, "-o", tmp_path / "model", *options, "--stop-after", 3)
    assert "3 of " in first.stdout
    assert "stopped early" in (tmp_path / "model" / "README.md").read_text()
    (tmp_path / "model" / "calibration.json").write_text("{}")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    second = rerank("train", judged, "-o", tmp_path / "model", *options)
    assert "files of an earlier model, removed or renamed: calibration.json" in second.stdout
    assert not (tmp_path / "model" / "calibration.json").exists()
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    done = next(line for line in second.stdout.splitlines() if " steps on " in line)
    assert " of " not in done.split("steps")[0]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| 500 | | | 0.1718 |" in card.replace("|  |", "| |").replace("|  |", "| |")


def test_a_dry_run_shows_the_report_and_trains_nothing(rerank, base, tmp_path):
    rows = [
        {"query": "a dog", "passage": "cafÃ© " + SENTENCES[2], "label": 1},
        {"query": "a dog", "passage": "x", "label": 0},
    ]
    data = write_rows(tmp_path / "pairs.jsonl", [*rows, rows[1]])
    done = rerank("train", data, "-o", tmp_path / "model", "--model", base, "--dry-run", "--repair-text")
    assert done.returncode == 0, done.stderr
    for text in ("3 of 1 queries", "33.3% positive", "the same pair again", "1 kept", "repaired encoding"):
        assert text in " ".join(done.stdout.split()), text
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_queries_of_the_test_split_are_not_trained_on(rerank, base, judged, tmp_path):
    rows = [{"query": " Red  FOX", "positive": SENTENCES[2], "negative": SENTENCES[0]}]
    data = write_rows(tmp_path / "pairs.jsonl", [*rows, {"query": "dog", "positive": "dog", "negative": "cat"}])
    options = ["--model", base, "--epochs", 1, "--dev", judged]
    done = rerank("train", data, "-o", tmp_path / "model", *options)
    assert done.returncode == 1
    assert "2 x query of the dev or test split" in done.stderr
    assert "--drop" in done.stderr
    done = rerank("train", data, "-o", tmp_path / "model", *options, "--drop")
    assert "2 left out" in done.stdout
    assert "on 2 pairs" in done.stdout


@pytest.mark.slow
def test_a_teacher_scores_once(rerank, base, cross_encoder, judged, tmp_path):
    options = ["--model", base, "--epochs", 1, "--loss", "margin_mse", "--teacher", cross_encoder, "--random", 2]
    assert rerank("train", judged, "-o", tmp_path / "model", *options).returncode == 0
    scores = next((tmp_path / "model" / "teacher").glob("*.jsonl"))
    whole = scores.read_text()
    ranker = CrossEncoderRanker(model=cross_encoder)
    for row in map(json.loads, whole.splitlines()):
        assert row["score"] == pytest.approx(ranker.logits(row["query"], [row["passage"]])[0], abs=0.1)
    scores.write_text(whole[: len(whole) // 2])  # killed while it was scoring
    assert rerank("train", judged, "-o", tmp_path / "model", *options).returncode == 0
    assert len(scores.read_text().splitlines()) == len(whole.splitlines())
    (tmp_path / "scores.jsonl").write_text(scores.read_text())
    again = [*options[:-4], "--teacher", tmp_path / "scores.jsonl", "--random", 2]
    assert rerank("train", judged, "-o", tmp_path / "other", *again).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "best-xx"], "no preset 'best-xx': choose one of best"),
        (["--loss", "hinge"], "loss must be one of bce"),
        (["--loss", "margin_mse"], "needs teacher scores: give --teacher"),
        (["--eval-steps", "5"], "eval_steps needs a dev collection"),
        (["--learning-rate", "0"], "learning_rate must be a finite number above 0, got 0"),
        (["--stop-after", "0"], "stop_after must be a whole number of at least 1, got 0"),
        (["--early-exit-layers", "2", "--epochs", "1"], "early_exit_layers must be from 1 to 1 for this model, got 2"),
        (
            ["--early-exit-width", "32", "--epochs", "1"],
            "early_exit_width is for an early-exit network: set early_exit_layers",
        ),
        (["--early-exit-layers", "1", "--early-exit-width", "30"], "early_exit_width must be a multiple of 4, got 30"),
        (["--teacher", "none.jsonl"], "none.jsonl does not exist"),
        (["--ranks", "10-1:2"], "must be FIRST-LAST:COUNT"),
    ],
)
def test_mistakes_get_one_line(rerank, base, judged, tmp_path, options, message):
    done = rerank("train", judged, "-o", tmp_path / "model", "--model", base, *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_mining_writes_what_training_reads(rerank, judged, tmp_path):
    output = tmp_path / "mined.jsonl"
    done = rerank("mine", judged, "-o", output, "--ranks", "1-5:2", "--random", 1, "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["queries"], counts["positives"]) == (4, 4)
    pairs = read_pairs(output)
    assert len(pairs) == 4 + sum(counts["negatives"].values())
    before = output.read_bytes()
    assert rerank("mine", judged, "-o", output, "--ranks", "1-5:2", "--random", 1).returncode == 0
    assert output.read_bytes() == before
    done = rerank("mine", judged, "-o", output, "--ranks", "1-5:2", "--seed", 1)
    assert done.returncode == 1
    assert "mined with other settings" in done.stderr


@pytest.mark.slow
def test_a_guard_model_leaves_out_likely_answers(rerank, judged, cross_encoder, tmp_path):
    output = tmp_path / "mined.jsonl"
    options = ["--ranks", "1-10:9", "--random", 0, "--guard-model", cross_encoder, "--relative-margin", "0.01"]
    done = rerank("mine", judged, "-o", output, *options, "--json")
    assert json.loads(done.stdout)["left_out"]["margin"] > 0
    ranker = CrossEncoderRanker(model=cross_encoder)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    positives = {row["query"]: row["passage"] for row in rows if row["label"] == 1}
    for row in rows:
        if row["label"] == 0:
            worse, better = ranker.logits(row["query"], [row["passage"], positives[row["query"]]])
            assert worse < better
