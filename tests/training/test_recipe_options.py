"""The options of `rerank train` and the fields of a recipe are the same, and each option reaches its field."""

from dataclasses import fields

import pytest

from rerank_plugin.cli.recipe_options import RecipeOptions
from rerank_plugin.training.recipe.config import FAST, TrainingConfig, make_config

NAMES = [field.name for field in fields(TrainingConfig)]
# A value of each field that no preset has.
VALUES = {
    "model": "folder", "loss": "bce", "pos_weight": 2.5, "list_size": 3, "epochs": 1.5, "batch_size": 5,
    "learning_rate": 1e-4, "warmup_ratio": 0.3, "weight_decay": 0.2, "max_grad_norm": 2.0, "max_length": 99, "seed": 7,
    "precision": "bf16", "freeze_embeddings": True, "dropout": 0.4, "group_by_length": True, "logging_steps": 11,
    "save_steps": 12, "eval_steps": 13, "patience": 14, "early_exit_layers": 15,
    "early_exit_width": 16, "report_to": "tensorboard",
}  # fmt: skip


def given(**values) -> RecipeOptions:
    return RecipeOptions(**(dict.fromkeys(NAMES) | values))


def test_every_field_of_a_recipe_is_an_option():
    assert [field.name for field in fields(RecipeOptions)] == NAMES == list(VALUES)


def test_every_option_of_the_command_line_reaches_the_recipe(rerank, monkeypatch, tmp_path):
    requests = []

    def remember(request, **_):
        requests.append(request)

    monkeypatch.setattr("rerank_plugin.training.run.run_training", remember)
    options = []
    for name, value in VALUES.items():
        option = f"--{name.replace('_', '-')}"
        options += [option] if value is True else [option, value]
    done = rerank("train", tmp_path, "-o", tmp_path / "model", *options, "--dev", tmp_path)
    assert done.returncode == 0, done.stderr
    assert requests[0].config == TrainingConfig(**VALUES)


def test_nothing_given_changes_nothing():
    assert given().overrides(fast=False) == {}
    assert given().overrides(fast=True) == FAST


@pytest.mark.parametrize("name", ["eval_steps", "early_exit_layers", "early_exit_width", "pos_weight", "patience"])
def test_zero_switches_off_what_a_preset_switches_on(name):
    assert given(**{name: 0}).overrides(fast=False)[name] is None


def test_without_measurements_there_is_no_patience():
    assert make_config("best", overrides=given(eval_steps=0).overrides(fast=False)).patience is None


@pytest.mark.parametrize(("name", "value"), [("dropout", 0.0), ("seed", 0), ("freeze_embeddings", False)])
def test_a_falsy_value_is_a_value(name, value):
    assert given(**{name: value}).overrides(fast=True)[name] == value
