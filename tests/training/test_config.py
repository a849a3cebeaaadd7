"""The hyperparameters: presets, precedence of their sources, and invalid values."""

import dataclasses

import pytest

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.recipe.config import TrainingConfig, make_config, preset_names

# Every field, as in the cards of the published models, or else the default of their trainer.
PUBLISHED = {
    "model": "cross-encoder/ms-marco-MiniLM-L6-v2",
    "loss": "bce",
    "pos_weight": None,
    "list_size": 8,
    "batch_size": 16,
    "learning_rate": 5e-5,
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "max_length": 512,
    "seed": 42,
    "precision": "fp32",
    "freeze_embeddings": False,
    "dropout": None,
    "group_by_length": False,
    "logging_steps": 500,
    "save_steps": 500,
    "eval_steps": None,
    "patience": None,
    "early_exit_layers": None,
    "early_exit_width": None,
    "report_to": "none",
}


@pytest.fixture
def recipe(tmp_path):
    """A function that writes a YAML file."""

    def write(text: str):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(("preset", "epochs"), [("msmarco-en", 3.0), ("msmarco-ru", 10.0)])
def test_the_published_recipes_are_those_of_their_cards(preset, epochs):
    assert make_config(preset).as_dict() == PUBLISHED | {"epochs": epochs}


def test_the_defaults_are_the_published_english_recipe():
    assert TrainingConfig() == make_config() == make_config("msmarco-en")


def test_three_recipes_are_built_in():
    assert preset_names() == ["best", "msmarco-en", "msmarco-ru"]


def test_the_recipe_for_own_data_is_listwise_and_stops_early():
    config = make_config("best")
    assert config.loss == "listnet"
    assert config.eval_steps is not None
    assert config.patience is not None
    assert config.model != TrainingConfig().model


def test_a_file_counts_more_than_the_preset_and_an_option_more_than_the_file(recipe):
    file = recipe("batch_size: 8\nepochs: 2\nseed: 7\n")
    config = make_config("msmarco-ru", file=file, overrides={"seed": 1, "max_length": 128})
    assert (config.epochs, config.batch_size, config.seed, config.max_length) == (2.0, 8, 1, 128)
    assert config == dataclasses.replace(make_config("msmarco-ru"), epochs=2.0, batch_size=8, seed=1, max_length=128)


def test_a_file_alone_changes_the_defaults(recipe):
    assert make_config(file=recipe("precision: bf16")) == dataclasses.replace(TrainingConfig(), precision="bf16")


@pytest.mark.parametrize(
    ("name", "low"),
    [("seed", 0), ("warmup_ratio", 0.0), ("weight_decay", 0.0), ("dropout", 0.0), ("freeze_embeddings", False)],
)
def test_an_option_counts_when_it_is_zero_or_false(recipe, name, low):
    file = recipe("seed: 3\nwarmup_ratio: 0.5\nweight_decay: 0.5\ndropout: 0.5\nfreeze_embeddings: true\n")
    assert getattr(make_config(file=file, overrides={name: low}), name) == low


def test_a_file_can_unset_a_value_of_the_preset(recipe):
    config = make_config("best", file=recipe("eval_steps: null\npatience: null\ndropout: ~\n"))
    assert (config.eval_steps, config.patience, config.dropout) == (None, None, None)


def test_an_option_can_unset_a_value_of_the_preset():
    config = make_config("best", overrides={"eval_steps": None, "patience": None, "dropout": None})
    assert (config.eval_steps, config.patience, config.dropout) == (None, None, None)


@pytest.mark.parametrize("text", ["5e-5", "5.0e-5", "0.00005", "'0.00005'"])
def test_yaml_may_write_a_number_in_any_way(recipe, text):
    assert make_config(file=recipe(f"learning_rate: {text}")).learning_rate == 5e-5


def test_whole_numbers_are_accepted_as_floats(recipe):
    config = make_config(file=recipe("epochs: 2\nmax_grad_norm: 1\npos_weight: 3"))
    assert (config.epochs, config.max_grad_norm, config.pos_weight) == (2.0, 1.0, 3.0)
    assert {type(value) for value in (config.epochs, config.max_grad_norm, config.pos_weight)} == {float}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("learning_rate: fast", "learning_rate must be a finite number above 0, got 'fast'"),
        ("learning_rate: true", "learning_rate must be a finite number above 0, got True"),
        ("learning_rate: [1.0e-5]", "learning_rate must be a finite number above 0, got [1e-05]"),
        ("epochs: null", "epochs must be a finite number above 0, got None"),
        ("pos_weight: heavy", "pos_weight must be a finite number above 0, or null, got 'heavy'"),
        ("batch_size: 16.0", "batch_size must be a whole number above 0, got 16.0"),
        ("batch_size: '16'", "batch_size must be a whole number above 0, got '16'"),
        ("batch_size: true", "batch_size must be a whole number above 0, got True"),
        ("eval_steps: often", "eval_steps must be a whole number above 0, or null, got 'often'"),
        ("group_by_length: 1", "group_by_length must be true or false, got 1"),
        ("loss: 5", "loss must be one of bce, listnet, lambda, multiple_negatives, margin_mse, got 5"),
        ("epoch: 3", "has unknown names: epoch; choose from model, loss,"),
        ("3: epochs", "has unknown names: 3; choose from"),
        ("- epochs", "must contain names and values, such as `epochs: 3`"),
        ("", "must contain names and values"),
        ("epochs: [3", "cannot be read as YAML"),
    ],
)
def test_an_error_in_a_file_is_named_with_the_file(recipe, line, reason):
    path = recipe(line)
    with pytest.raises(InvalidValueError) as error:
        make_config(file=path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidValueError, match=r"nothing\.yaml cannot be read"):
        make_config(file=tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model: caf\xe9")
    with pytest.raises(InvalidValueError, match=r"latin\.yaml cannot be read"):
        make_config(file=tmp_path / "latin.yaml")


def test_a_file_that_is_not_yaml_is_one_line(recipe):
    with pytest.raises(InvalidValueError) as error:
        make_config(file=recipe("epochs: [3"))
    assert "\n" not in str(error.value)


def test_an_unknown_preset_lists_what_exists():
    with pytest.raises(InvalidValueError, match="no preset 'best-xx': choose one of best, msmarco-en"):
        make_config("best-xx")


@pytest.mark.parametrize("overrides", [{"epoch": 3}, {"epochs": "three"}])
def test_an_option_of_another_name_or_type_is_an_error(overrides):
    with pytest.raises(InvalidValueError, match=next(iter(overrides))):
        make_config(overrides=overrides)


@pytest.mark.parametrize(
    "name",
    (
        "epochs batch_size learning_rate max_length save_steps logging_steps max_grad_norm pos_weight eval_steps "
        "early_exit_layers early_exit_width"
    ).split(),
)
@pytest.mark.parametrize("value", [0, -1])
def test_what_must_be_above_zero_is(name, value):
    with pytest.raises(
        InvalidValueError, match=f"{name} must be a (whole|finite) number (above 0|of at least 8)(, or null)?, got {value}"
    ):
        TrainingConfig(**{name: value})


def test_patience_must_be_above_zero():
    with pytest.raises(InvalidValueError, match="patience must be a whole number above 0, or null, got 0"):
        TrainingConfig(eval_steps=10, patience=0)


@pytest.mark.parametrize("name", ["warmup_ratio", "weight_decay", "dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_share_is_below_one(name, value):
    with pytest.raises(InvalidValueError, match=f"{name} must be a number from 0 to below 1(, or null)?, got {value}"):
        TrainingConfig(**{name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["epochs", "learning_rate", "max_grad_norm", "pos_weight"])
def test_no_number_is_infinite(name, value):
    with pytest.raises(InvalidValueError, match=name):
        TrainingConfig(**{name: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "mse"}, "loss must be one of bce, listnet, lambda, multiple_negatives, margin_mse, got 'mse'"),
        ({"precision": "fp16"}, "precision must be one of fp32, bf16, got 'fp16'"),
        ({"report_to": "wandb"}, "report_to must be one of none, tensorboard, trackio, got 'wandb'"),
        ({"list_size": 1}, "list_size must be a whole number of at least 2, got 1"),
    ],
)
def test_an_unknown_choice_lists_the_choices(fields, message):
    with pytest.raises(InvalidValueError) as error:
        TrainingConfig(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize("loss", ["listnet", "lambda", "multiple_negatives", "margin_mse"])
def test_pos_weight_is_for_bce_only(loss):
    with pytest.raises(InvalidValueError, match=f"pos_weight is for the loss bce, not {loss}: leave it out"):
        TrainingConfig(loss=loss, pos_weight=2.0)
    assert TrainingConfig(pos_weight=2.0).pos_weight == 2.0


def test_patience_without_measurements_is_an_error():
    with pytest.raises(InvalidValueError, match="patience counts evaluations on the dev collection: set eval_steps too"):
        TrainingConfig(patience=3)


def test_the_fields_by_name_make_the_same_configuration_again():
    config = make_config("best")
    assert TrainingConfig(**config.as_dict()) == config
