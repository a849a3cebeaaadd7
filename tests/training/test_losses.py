from pathlib import Path

import pytest
from conftest import write_cross_encoder

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fitting.losses import labels_are_bounded, make_dataset
from rerank_plugin.training.fitting.train import train
from rerank_plugin.training.recipe.config import LOSSES, TrainingConfig

ANIMALS, THINGS = ["dog", "cat", "fox", "bird"], ["sky", "sea", "tea", "book"]
PLACES = ["rome", "paris", "france", "italy", "germany", "berlin"]


def pair(query: str, noun: str, place: str) -> LabelledPair:
    animal = float(noun in ANIMALS)
    return LabelledPair(query, f"the old {noun} of {place}", animal, teacher_score=4 * animal - 2)


# Something to learn: a passage is relevant if it names an animal.
PAIRS = [pair(f"which animal in {place}", noun, place) for place in PLACES for noun in ANIMALS + THINGS]
ONE = [LabelledPair("q", "good", 1.0), LabelledPair("q", "bad", 0.0), LabelledPair("q", "worse", 0.0)]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("losses") / "base", seed=3, spread=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_learns_to_put_answers_first(base, tmp_path, loss):
    config = TrainingConfig(model=str(base), loss=loss, learning_rate=3e-3, epochs=12, batch_size=8, list_size=4)
    result = train(PAIRS, config, tmp_path)
    texts = [("which animal in rome", f"the old {noun} of rome") for noun in ANIMALS + THINGS]
    scores = result.model.predict(texts)
    assert min(scores[:4]) > max(scores[4:])


def test_pairs_stay_pairs_for_bce():
    rows = make_dataset(ONE, TrainingConfig()).to_list()
    assert rows[0] == {"sentence_0": "q", "sentence_1": "good", "label": 1.0}
    assert len(rows) == 3


@pytest.mark.slow
def test_positives_count_as_often_as_pos_weight_says(base, tmp_path):
    config = {"model": str(base), "epochs": 1, "batch_size": 4, "logging_steps": 1, "save_steps": 50, "dropout": 0.0}
    pairs = [LabelledPair("q", "old fox", 1.0)] * 4
    plain = train(pairs, TrainingConfig(**config), tmp_path / "a").losses[0]["loss"]
    weighted = train(pairs, TrainingConfig(pos_weight=5.0, **config), tmp_path / "b").losses[0]["loss"]
    assert weighted == pytest.approx(5 * plain, rel=1e-4)


def test_lists_have_the_best_passage_in_each_of_them_and_every_other_once():
    pairs = [LabelledPair("q", "best", 1.0), *(LabelledPair("q", f"other {i}", 0.0) for i in range(7))]
    rows = make_dataset(pairs, TrainingConfig(loss="listnet", list_size=4)).to_list()
    assert [len(row["docs"]) for row in rows] == [4, 4, 2]
    assert all(row["docs"][0] == "best" and row["labels"][0] == max(row["labels"]) for row in rows)
    assert sorted(text for row in rows for text in row["docs"][1:]) == [f"other {i}" for i in range(7)]


def test_lists_follow_the_teacher_where_there_is_one():
    pairs = [LabelledPair("q", "a", 1.0, 0.5), LabelledPair("q", "b", 0.0, 2.5)]
    assert make_dataset(pairs, TrainingConfig(loss="listnet")).to_list() == [
        {"query": "q", "docs": ["b", "a"], "labels": [2.5, 0.5]}
    ]


def test_labels_of_0_and_1_make_a_clear_preference_and_grades_stay_what_they_are():
    rows = make_dataset(ONE, TrainingConfig(loss="listnet")).to_list()
    assert sorted(rows[0]["labels"]) == [0.0, 0.0, 6.0]
    grades = [LabelledPair("q", "good", 3.0), LabelledPair("q", "bad", 0.0)]
    assert make_dataset(grades, TrainingConfig(loss="listnet")).to_list()[0]["labels"] == [3.0, 0.0]
    assert make_dataset(ONE, TrainingConfig(loss="lambda")).to_list()[0]["labels"][0] == 1.0


def test_lists_use_the_labels_if_some_teacher_scores_are_missing():
    pairs = [LabelledPair("q", "a", 1.0, -9.0), LabelledPair("q", "b", 0.0)]
    assert make_dataset(pairs, TrainingConfig(loss="lambda")).to_list()[0]["docs"] == ["a", "b"]


def test_triples_repeat_negatives_if_there_are_too_few():
    rows = make_dataset(ONE[:2], TrainingConfig(loss="multiple_negatives", list_size=4)).to_list()
    assert rows == [{"query": "q", "positive": "good", "negative_0": "bad", "negative_1": "bad", "negative_2": "bad"}]


def test_margins_are_those_of_the_teacher():
    pairs = [LabelledPair("q", "good", 1.0, 3.0), LabelledPair("q", "bad", 0.0, -1.0), LabelledPair("q", "worse", 0.0, -2.0)]
    rows = make_dataset(pairs, TrainingConfig(loss="margin_mse")).to_list()
    assert [(row["negative"], row["label"]) for row in rows] == [("bad", 4.0), ("worse", 5.0)]


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "bce"])
def test_nothing_to_learn_is_an_error(loss):
    with pytest.raises(InvalidValueError, match=f"loss {loss} has nothing to learn.*rerank mine"):
        make_dataset([LabelledPair("q", "good", 1.0), LabelledPair("r", "good", 1.0)], TrainingConfig(loss=loss))


def test_only_lists_take_labels_of_any_size():
    assert [loss for loss in LOSSES if not labels_are_bounded(TrainingConfig(loss=loss))] == ["listnet", "lambda"]
