import json
import random
import signal
import socket
import time
from pathlib import Path

import pytest
from conftest import WORDS, write_cross_encoder
from zygote import run_python

from rerank_plugin.errors import InvalidValueError, ModelError
from rerank_plugin.training.data.batches import LengthGroupedBatchSampler
from rerank_plugin.training.data.pairs import LabelledPair, write_pairs
from rerank_plugin.training.fitting.dev import DevCollection, measurements
from rerank_plugin.training.fitting.processes import computed_precision
from rerank_plugin.training.fitting.train import train
from rerank_plugin.training.recipe.config import FAST, TrainingConfig

ANIMALS, THINGS = ["dog", "cat", "fox", "bird"], ["sky", "sea", "tea", "book"]
# Something to learn: a passage is relevant if it names an animal.
PAIRS = [
    LabelledPair("animal", f"the {adjective} {noun} of {place}", float(noun in ANIMALS))
    for noun in ANIMALS + THINGS
    for adjective in ("red", "blue", "old", "new")
    for place in ("rome", "paris", "france")
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("training") / "base", seed=3, spread=0.1)


def config(base: Path, **changes) -> TrainingConfig:
    return TrainingConfig(
        model=str(base), **{"learning_rate": 3e-3, "epochs": 4, "save_steps": 10, "logging_steps": 2, **changes}
    )


def dev() -> DevCollection:
    texts = {noun: f"the old {noun} of rome" for noun in ANIMALS + THINGS}
    candidates = {noun: -float(rank) for rank, noun in enumerate(reversed(texts))}
    return DevCollection("animals, dev", "bm25", {"q": "animal"}, {"q": candidates}, texts, {"q": dict.fromkeys(ANIMALS, 1)})


def predictions(model) -> list[float]:
    return model.predict([(pair.query, pair.passage) for pair in PAIRS[::7]]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("fast", [{}, FAST])
def test_learns(base, tmp_path, fast):
    result = train(PAIRS, config(base, epochs=16, **fast), tmp_path)
    assert result.steps == result.total_steps == 16 * len(PAIRS) // 16
    assert result.losses[-1]["loss"] < result.losses[0]["loss"] / 2
    scores = result.model.predict([("animal", f"the old {noun} of rome") for noun in ("book", "fox", "sky", "bird")])
    assert min(scores[1], scores[3]) > 0.5 > max(scores[0], scores[2])


@pytest.mark.slow
def test_frozen_embeddings_stay(base, tmp_path):
    before = train(PAIRS, config(base, **FAST), tmp_path / "a", stop_after=1).model.state_dict()
    after = train(PAIRS, config(base, **FAST), tmp_path / "b").model.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert not any(".embeddings." in name for name in changed)


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_same_model_with_the_same_log(base, tmp_path):
    stop = random.Random(7).randrange(1, 24)
    whole = train(PAIRS, config(base), tmp_path / "whole")
    part = train(PAIRS, config(base), tmp_path / "cut", stop_after=stop)
    assert (part.steps, part.total_steps) == (stop, 24)
    resumed = train(PAIRS, config(base), tmp_path / "cut")
    assert resumed.steps == whole.steps == 24
    assert predictions(resumed.model) == pytest.approx(predictions(whole.model), abs=1e-5)
    ends = [
        {entry["step"]: entry["loss"] for entry in result.losses if entry["step"] > stop + 2} for result in (whole, resumed)
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)


SCRIPT = """
import sys
from pathlib import Path
from rerank_plugin.training.recipe.config import make_config
from rerank_plugin.training.data.pairs import read_pairs
from rerank_plugin.training.fitting.train import train
data, recipe, output = map(Path, sys.argv[1:])
result = train(read_pairs(data), make_config(file=recipe), output)
print(result.is_main, result.steps, result.total_steps)
"""


def arguments(folder: Path, settings: TrainingConfig) -> list[str]:
    """Return the arguments of the script above."""
    write_pairs(PAIRS, folder / "pairs.jsonl")
    (folder / "recipe.yaml").write_text(json.dumps(settings.as_dict()))
    return [str(folder / "pairs.jsonl"), str(folder / "recipe.yaml"), str(folder / "out")]


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_loss_curve_and_number_of_steps(base, tmp_path):
    settings = config(base, epochs=10, save_steps=5, logging_steps=1)
    with run_python(SCRIPT, *arguments(tmp_path, settings)) as running:
        wanted = random.Random(11).randrange(5, 30)
        while running.is_running() and _last_step(tmp_path / "out") < wanted:
            time.sleep(0.01)
        running.kill()
    assert running.returncode == -signal.SIGKILL, running.returncode
    whole = train(PAIRS, settings, tmp_path / "whole")
    assert 0 < _last_step(tmp_path / "out") < whole.steps, "killed before the first checkpoint, or after the end"
    resumed = train(PAIRS, settings, tmp_path / "out")
    assert resumed.steps == whole.steps == 60
    curves = [{entry["step"]: entry["loss"] for entry in result.losses} for result in (whole, resumed)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


def _last_step(output: Path) -> int:
    """Return the step of the last complete checkpoint."""
    states = (output / "checkpoints").glob("checkpoint-*/trainer_state.json")
    return max((int(file.parent.name.removeprefix("checkpoint-")) for file in states), default=0)


@pytest.mark.slow
def test_a_half_written_checkpoint_is_ignored(base, tmp_path):
    whole = train(PAIRS, config(base), tmp_path / "whole")
    train(PAIRS, config(base), tmp_path / "cut", stop_after=13)
    half = tmp_path / "cut" / "checkpoints" / "checkpoint-13"
    (half / "trainer_state.json").unlink()
    resumed = train(PAIRS, config(base), tmp_path / "cut")
    assert resumed.steps == 24
    assert predictions(resumed.model) == pytest.approx(predictions(whole.model), abs=1e-5)


@pytest.mark.slow
def test_checkpoints_of_another_run_are_refused(base, tmp_path):
    train(PAIRS, config(base), tmp_path, stop_after=3)
    with pytest.raises(InvalidValueError, match="another run: learning_rate changed; choose another output"):
        train(PAIRS, config(base, learning_rate=1e-3), tmp_path)
    with pytest.raises(InvalidValueError, match="another run: data changed"):
        train(PAIRS[1:], config(base), tmp_path)
    assert train(PAIRS, config(base, save_steps=5, logging_steps=1), tmp_path).steps == 24


@pytest.mark.slow
def test_the_best_checkpoint_is_kept_and_training_stops_when_nothing_gets_better(base, tmp_path):
    settings = config(base, epochs=40, eval_steps=4, patience=2)
    result = train(PAIRS, settings, tmp_path, dev=dev())
    values = measurements(result.log)
    assert result.steps < result.total_steps
    best = max(value for _, value in values)
    assert best > values[0][1] or best == 1.0
    assert dev().evaluator()(result.model)["dev_ndcg@10"] == pytest.approx(best)


# The variables of `torchrun` and of `accelerate launch`, whose own launchers take as long as the training.
ONE_OF_TWO = """
import os, sys
number, port = sys.argv[1:3]
os.environ.update(RANK=number, LOCAL_RANK=number, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
from rerank_plugin.cli import main
sys.argv[:3] = ["rerank"]
main()
"""


@pytest.mark.slow
def test_two_processes_share_the_work_and_one_of_them_writes(base, collection, tmp_path):
    write_pairs(PAIRS, tmp_path / "pairs.jsonl")
    command = ["train", tmp_path / "pairs.jsonl", "-o", tmp_path / "out", "--model", base, "--json"]
    command += ["--epochs", "4", "--logging-steps", "2", "--dev", collection, "--eval-steps", "6"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with run_python(ONE_OF_TWO, 0, port, *command) as first, run_python(ONE_OF_TWO, 1, port, *command) as second:
        done = [process.communicate() for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), done
    summaries = [json.loads(line) for output, _ in done for line in output.splitlines() if line.startswith("{")]
    assert [summary["steps"] for summary in summaries] == [12], "each takes half of the batches, and one reports"
    assert list(summaries[0]["figures"]) == ["tiny, dev"]
    assert "| tiny, dev | 4 |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_losses_go_to_tensorboard_too(base, tmp_path):
    train(PAIRS, config(base, epochs=1, report_to="tensorboard"), tmp_path)
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_no_pairs_is_an_error(base, tmp_path):
    with pytest.raises(InvalidValueError, match="no training pairs"):
        train([], config(base), tmp_path)


def test_measuring_needs_something_to_measure_on(base, tmp_path):
    with pytest.raises(InvalidValueError, match="eval_steps needs a dev collection"):
        train(PAIRS, config(base, eval_steps=5), tmp_path)


def test_a_missing_model_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere"):
        train(PAIRS, TrainingConfig(model="nowhere"), tmp_path)


def sampler(lengths: list[int], **arguments) -> LengthGroupedBatchSampler:
    from datasets import Dataset

    dataset = Dataset.from_dict({"a": ["x" * length for length in lengths], "label": [0.0] * len(lengths)})
    return LengthGroupedBatchSampler(
        dataset, valid_label_columns=["label"], **{"batch_size": 4, "drop_last": False, **arguments}
    )


def test_batches_have_every_pair_once_and_similar_lengths_together():
    lengths = [1 + 37 * i % 101 for i in range(150)]
    batches = list(sampler(lengths))
    assert sorted(i for batch in batches for i in batch) == list(range(150))
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert max(spread) < 20


def test_batches_repeat_with_the_seed_and_differ_between_epochs():
    lengths = list(range(1, 60))
    first, second = sampler(lengths, seed=1), sampler(lengths, seed=1)
    assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)


def test_the_last_batch_can_be_dropped():
    assert {len(batch) for batch in sampler(list(range(1, 11)), drop_last=True)} == {4}


assert set(ANIMALS + THINGS) <= set(WORDS)


def test_bf16_is_computed_only_where_the_machine_has_instructions_for_it(caplog):
    assert computed_precision("bf16", has_bf16=True) == "bf16"
    assert computed_precision("fp32", has_bf16=False) == "fp32"
    assert not caplog.records
    assert computed_precision("bf16", has_bf16=False) == "fp32"
    assert "training in fp32" in caplog.text
