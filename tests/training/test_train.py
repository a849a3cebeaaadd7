import json
import shutil
from pathlib import Path

import pytest
from conftest import WORDS, write_cross_encoder
from haystack import Document

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.batches import LengthGroupedBatchSampler
from rerank_plugin.training.config import TrainingConfig
from rerank_plugin.training.data import LabelledPair
from rerank_plugin.training.recipe import TrainingData
from rerank_plugin.training.train import train, train_and_save

ANIMALS, THINGS = ["dog", "cat", "fox", "bird"], ["sky", "sea", "tea", "book"]
# Something to learn: a passage answers where it names an animal.
PAIRS = [
    LabelledPair("animal", f"the {adjective} {noun} of {place}", float(noun in ANIMALS))
    for noun in ANIMALS + THINGS
    for adjective in ("red", "blue", "old", "new")
    for place in ("rome", "paris", "france")
]
SOURCES = TrainingData(paths=(Path("pairs.jsonl"),))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("training") / "base", seed=3, spread=0.1)


def config(base: Path, **changes) -> TrainingConfig:
    return TrainingConfig(model=str(base), **{"learning_rate": 3e-3, "epochs": 4, "save_steps": 10, **changes})


@pytest.mark.parametrize("fast", [False, True])
def test_learns_and_saves_a_model_that_ranks(base, tmp_path, fast):
    summary = train_and_save(PAIRS, config(base, fast=fast, epochs=16), tmp_path / "model", sources=SOURCES)
    assert summary["steps"] == 16 * len(PAIRS) // 16
    ranker = CrossEncoderRanker(model=tmp_path / "model", backend="torch")
    documents = [Document(content=f"the old {noun} of rome") for noun in ("book", "fox", "sky", "bird")]
    best = ranker.run(query="animal", documents=documents)["documents"]
    assert {document.content.split()[2] for document in best[:2]} == {"fox", "bird"}
    assert best[1].score > 0.5 > best[2].score


def test_the_saved_model_is_half_the_size_and_computes_in_float32(base, tmp_path):
    from safetensors import safe_open

    train_and_save(PAIRS[:16], config(base, fast=True, epochs=1, max_length=16), tmp_path / "model", sources=SOURCES)
    with safe_open(tmp_path / "model" / "model.safetensors", framework="np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118 - no dict
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (settings["dtype"], settings["hidden_dropout_prob"]) == ("float32", 0.1)
    tokenizer = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == 64, "the cut of training must not stay"


def test_the_card_says_what_went_in(base, tmp_path):
    train_and_save(PAIRS, config(base, epochs=1, save_steps=2), tmp_path / "my-model", sources=SOURCES)
    card = (tmp_path / "my-model" / "README.md").read_text()
    assert "# my-model" in card
    assert f"{len(PAIRS)} labelled pairs, mean label 0.500" in card
    assert "- learning_rate: 0.003" in card
    assert "- seed: 42" in card
    assert "| 2 | 0.33 |" in card
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")


def test_an_interrupted_run_goes_on_and_ends_in_the_same_model(base, tmp_path):
    whole = train(PAIRS, config(base), tmp_path / "whole")
    train(PAIRS, config(base), tmp_path / "cut")
    for checkpoint in (tmp_path / "cut" / "checkpoints").iterdir():
        if checkpoint.name != "checkpoint-20":
            shutil.rmtree(checkpoint)
    resumed = train(PAIRS, config(base), tmp_path / "cut")
    assert resumed.steps == whole.steps == 24
    texts = [(pair.query, pair.passage) for pair in PAIRS[::7]]
    assert resumed.model.predict(texts) == pytest.approx(whole.model.predict(texts), abs=1e-5)


def test_no_pairs_is_an_error(base, tmp_path):
    with pytest.raises(InvalidValueError, match="no training pairs"):
        train([], config(base), tmp_path)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate", "max_length", "save_steps"])
def test_impossible_hyperparameters_are_errors(name):
    with pytest.raises(InvalidValueError, match=f"{name} must be above 0"):
        TrainingConfig(model="m", **{name: 0})


def test_the_defaults_are_the_published_recipe():
    defaults = TrainingConfig(model="m")
    assert (defaults.epochs, defaults.batch_size, defaults.learning_rate) == (3.0, 16, 5e-5)
    assert (defaults.seed, defaults.warmup_ratio, defaults.weight_decay, defaults.max_length) == (42, 0.0, 0.0, 512)


def sampler(lengths: list[int], **arguments) -> LengthGroupedBatchSampler:
    from datasets import Dataset

    dataset = Dataset.from_dict({"a": ["x" * length for length in lengths], "label": [0.0] * len(lengths)})
    return LengthGroupedBatchSampler(
        dataset, valid_label_columns=["label"], **{"batch_size": 4, "drop_last": False, **arguments}
    )


def test_batches_hold_every_pair_once_and_like_lengths_together():
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
