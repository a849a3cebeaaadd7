"""Checkpoints: damaged ones are ignored, those of other runs are refused, and a full disk costs only the newest."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from conftest import write_cross_encoder
from zygote import run_python

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.data.pairs import LabelledPair, write_pairs
from rerank_plugin.training.fitting.checkpoints import SEAL, STATE, check_same_run, last_checkpoint, seal
from rerank_plugin.training.fitting.dev import DevCollection
from rerank_plugin.training.fitting.train import train
from rerank_plugin.training.recipe.config import TrainingConfig

WEIGHTS = "model.safetensors"
NOUNS = ["dog", "cat", "fox", "bird", "sky", "sea", "tea", "book"]
PAIRS = [
    LabelledPair("animal", f"the {color} {noun}", float(i < 4)) for i, noun in enumerate(NOUNS) for color in ("red", "old")
]


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    """Two complete checkpoints; the second one refers to the first as the best."""
    for step, best in ((4, None), (8, "elsewhere/checkpoints/checkpoint-4")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(bytes(range(256)) * 40)
        (folder / STATE).write_text(json.dumps({"global_step": step, "best_model_checkpoint": best}))
        seal(folder)
    return tmp_path


def test_the_last_complete_checkpoint_is_found_with_its_best_one_after_a_move(checkpoints):
    last = last_checkpoint(checkpoints)
    assert last == checkpoints / "checkpoint-8"
    assert json.loads((last / STATE).read_text())["best_model_checkpoint"] == str(checkpoints / "checkpoint-4")
    assert last_checkpoint(checkpoints) == last, "it is still whole"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [WEIGHTS, STATE, SEAL])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_removed_and_the_previous_one_is_used(checkpoints, name, damage):
    damage(checkpoints / "checkpoint-8" / name)
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-4"
    assert not (checkpoints / "checkpoint-8").exists()


def test_a_checkpoint_without_its_best_one_is_not_used(checkpoints):
    cut(checkpoints / "checkpoint-4" / WEIGHTS)
    assert last_checkpoint(checkpoints) is None


def test_other_folders_are_left_alone(checkpoints):
    (checkpoints / "checkpoint-best").mkdir()
    last_checkpoint(checkpoints)
    assert (checkpoints / "checkpoint-best").is_dir()


def test_a_damaged_record_of_the_run_names_the_remedy(tmp_path):
    check_same_run(tmp_path, PAIRS, TrainingConfig(), fingerprints={})
    cut(tmp_path / "run.json")
    with pytest.raises(InvalidValueError, match=r"run\.json is damaged: delete .* to start again"):
        check_same_run(tmp_path, PAIRS, TrainingConfig(), fingerprints={})


@pytest.mark.parametrize("name", ["base", "dev"])
def test_another_base_model_or_dev_collection_is_another_run(tmp_path, name):
    fingerprints = {"base": "a", "dev": "b"}
    check_same_run(tmp_path, PAIRS, TrainingConfig(), fingerprints=fingerprints)
    with pytest.raises(InvalidValueError, match=f"checkpoints of another run: {name} changed"):
        check_same_run(tmp_path, PAIRS, TrainingConfig(), fingerprints=fingerprints | {name: "c"})


def test_a_dev_collection_changes_with_each_of_its_parts():
    dev = DevCollection("tiny, dev", "bm25", {"q": "fox"}, {"q": {"d": 1.0}}, {"d": "a fox"}, {"q": {"d": 1}})
    others = [
        DevCollection("tiny, dev", "bm25", {"q": "Fox"}, dev.candidates, dev.texts, dev.qrels),
        DevCollection("tiny, dev", "bm25", dev.queries, {"q": {"d": 2.0}}, dev.texts, dev.qrels),
        DevCollection("tiny, dev", "bm25", dev.queries, dev.candidates, {"d": "a dog"}, dev.qrels),
        DevCollection("tiny, dev", "bm25", dev.queries, dev.candidates, dev.texts, {"q": {"d": 0}}),
    ]
    assert len({one.fingerprint() for one in (dev, *others)}) == 5


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("checkpoints") / "base", seed=3, spread=0.1)


def config(base: Path, **changes) -> TrainingConfig:
    values = {"learning_rate": 3e-3, "epochs": 6, "batch_size": 4, "save_steps": 4, "logging_steps": 4, **changes}
    return TrainingConfig(model=str(base), **values)


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory) -> list[float]:
    """Scores after an uninterrupted run."""
    return scores(train(PAIRS, config(base), tmp_path_factory.mktemp("whole")).model)


def scores(model) -> list[float]:
    return model.predict([(pair.query, pair.passage) for pair in PAIRS]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizer.pt", WEIGHTS])
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(base, whole, tmp_path, name):
    train(PAIRS, config(base), tmp_path, stop_after=9)
    cut(tmp_path / "checkpoints" / "checkpoint-9" / name)
    assert scores(train(PAIRS, config(base), tmp_path).model) == pytest.approx(whole, abs=1e-5)


@pytest.mark.slow
def test_a_run_whose_folder_was_moved_still_keeps_its_best_model(base, tmp_path):
    dev = dev_collection()
    settings = config(base, eval_steps=4, learning_rate=1e-3)
    train(PAIRS, settings, tmp_path / "before", dev=dev, stop_after=9)
    shutil.move(tmp_path / "before", tmp_path / "after")
    result = train(PAIRS, settings, tmp_path / "after", dev=dev)
    best = max(entry["eval_dev_ndcg@10"] for entry in result.log if "eval_dev_ndcg@10" in entry)
    assert dev.evaluator()(result.model)["dev_ndcg@10"] == pytest.approx(best)


def dev_collection() -> DevCollection:
    """Eight passages whose order a model that hardly learns does not change."""
    texts = {noun: f"the old {noun}" for noun in NOUNS}
    ranked = {noun: -float(rank) for rank, noun in enumerate(reversed(texts))}
    return DevCollection("animals", "bm25", {"q": "animal"}, {"q": ranked}, texts, {"q": dict.fromkeys(NOUNS[:4], 1)})


@pytest.mark.slow
def test_patience_carries_over_when_a_run_is_resumed(base, tmp_path):
    settings = config(base, eval_steps=4, learning_rate=1e-9, patience=2)
    whole = train(PAIRS, settings, tmp_path / "whole", dev=dev_collection())
    assert whole.steps == 12, "the first measurement is the best, and two more are not better"
    train(PAIRS, settings, tmp_path / "cut", dev=dev_collection(), stop_after=9)
    assert train(PAIRS, settings, tmp_path / "cut", dev=dev_collection()).steps == 12


@pytest.mark.slow
def test_a_run_that_stopped_early_is_not_trained_further_when_it_is_started_again(base, tmp_path):
    settings = config(base, eval_steps=4, learning_rate=1e-9, patience=2)
    first = train(PAIRS, settings, tmp_path, dev=dev_collection())
    again = train(PAIRS, settings, tmp_path, dev=dev_collection())
    assert scores(again.model) == scores(first.model)
    assert again.steps <= first.steps + 1
    assert last_checkpoint(tmp_path / "checkpoints").name == "checkpoint-12"


# A file size limit acts like a full disk, for this process alone.
FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from rerank_plugin.errors import OutputError
from rerank_plugin.training.data.pairs import read_pairs
from rerank_plugin.training.fitting.train import train
from rerank_plugin.training.recipe.config import make_config
data, recipe, output = map(Path, sys.argv[1:])
pairs, config = read_pairs(data), make_config(file=recipe)
train(pairs, config, output, stop_after=5)
weights = output / "checkpoints" / "checkpoint-5" / "model.safetensors"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (weights.stat().st_size + 1000, resource.RLIM_INFINITY))
try:
    train(pairs, config, output)
except OutputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit of Linux")
def test_a_full_disk_keeps_the_checkpoint_before_and_is_one_line(base, whole, tmp_path):
    write_pairs(PAIRS, tmp_path / "pairs.jsonl")
    (tmp_path / "recipe.yaml").write_text(json.dumps(config(base).as_dict()))
    with run_python(FULL_DISK, *(tmp_path / name for name in ("pairs.jsonl", "recipe.yaml", "out"))) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    [line] = output.splitlines()
    assert line.startswith(f"{tmp_path / 'out' / 'checkpoints'} cannot be written: ")
    assert "free some space, and run the same command again" in line
    assert last_checkpoint(tmp_path / "out" / "checkpoints").name == "checkpoint-5"
    assert scores(train(PAIRS, config(base), tmp_path / "out").model) == pytest.approx(whole, abs=1e-5)
