"""A model's folder keeps the files of this model, and all files that do not belong to a model."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import write_cross_encoder

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring import calibration, early_exit
from rerank_plugin.training.fitting.load import load_for_training, reading_limit
from rerank_plugin.training.output.folder import check_output, keep_foreign_card
from rerank_plugin.training.output.save import WEIGHTS, save_half
from rerank_plugin.training.recipe.config import TrainingConfig
from rerank_plugin.training.recipe.request import TrainingRequest

LEFT_OVER = (calibration.FILE_NAME, early_exit.FILE_NAME, "model-00001-of-00002.safetensors", "onnx/model.onnx", "vocab.txt")
FOREIGN = ("notes.txt", "partial/mine.txt", "onnx/readme.txt", "data.json", "mined/pairs.jsonl")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("folder") / "base")


@pytest.fixture(scope="module")
def model(base):
    return load_for_training(TrainingConfig(model=str(base), max_length=16))


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_l8_files_of_an_earlier_model_are_removed_and_the_users_are_kept(model, base, tmp_path):
    write(tmp_path, "config.json", WEIGHTS, *LEFT_OVER, *FOREIGN)
    assert sorted(save_half(model, tmp_path, base=str(base))) == sorted(LEFT_OVER)
    fresh = tmp_path / "fresh"
    assert save_half(model, fresh, base=str(base)) == []
    new = files(fresh)
    shutil.rmtree(fresh)
    assert files(tmp_path) == new | set(FOREIGN)


def test_l8_the_calibration_of_the_very_same_weights_stays(model, base, tmp_path):
    save_half(model, tmp_path, base=str(base))
    write(tmp_path, calibration.FILE_NAME)
    assert save_half(model, tmp_path, base=str(base)) == []
    assert (tmp_path / calibration.FILE_NAME).exists()


def test_names_of_model_files_in_a_folder_without_a_model_are_the_users(model, base, tmp_path):
    write(tmp_path, "vocab.txt", "merges.txt")
    assert save_half(model, tmp_path, base=str(base)) == []
    assert {"vocab.txt", "merges.txt"} < files(tmp_path)


def test_a_converted_copy_behind_a_link_is_not_followed(model, base, tmp_path):
    folder, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    write(elsewhere, "model.onnx")
    write(folder, "config.json")
    (folder / "onnx").symlink_to(elsewhere)
    assert save_half(model, folder, base=str(base)) == []
    assert (elsewhere / "model.onnx").exists()


def set_limits(folder: Path, *, tokenizer: float, positions: int, model_type: str = "bert") -> str:
    """Change the input lengths in the tokenizer and network of a copied model."""
    for name, changes in (
        ("tokenizer_config.json", {"model_max_length": tokenizer}),
        ("config.json", {"max_position_embeddings": positions, "model_type": model_type}),
    ):
        data = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(data | changes))
    return str(folder)


@pytest.mark.parametrize(
    ("tokenizer", "positions", "model_type", "limit"),
    [
        (1024, 2048, "bert", 1024),
        (1e30, 2048, "bert", 2048),
        (4096, 512, "bert", 512),
        (1e30, 514, "xlm-roberta", 513),  # the padding token of the tests is number 0: one position is lost
        (64, 64, "bert", 64),
    ],
)
def test_l8_a_model_has_the_input_length_of_its_base(base, tmp_path, tokenizer, positions, model_type, limit):
    shutil.copytree(base, tmp_path / "base")
    source = set_limits(tmp_path / "base", tokenizer=tokenizer, positions=positions, model_type=model_type)
    if model_type != "bert":
        data = json.loads((tmp_path / "base" / "config.json").read_text())
        (tmp_path / "base" / "config.json").write_text(json.dumps(data | {"pad_token_id": 0}))
    assert reading_limit(source) == limit


def test_l8_the_saved_tokenizer_has_the_limit_of_the_base_and_not_512(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    base = write_cross_encoder(tmp_path / "base")
    config = BertConfig.from_pretrained(base)
    config.max_position_embeddings = 700
    BertForSequenceClassification(config).save_pretrained(base)
    source = set_limits(base, tokenizer=700, positions=700)
    save_half(load_for_training(TrainingConfig(model=source, max_length=16)), tmp_path / "model", base=source)
    assert json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())["model_max_length"] == 700


def request(base: Path, output: Path, **more) -> TrainingRequest:
    return TrainingRequest(data=(), output=output, config=TrainingConfig(model=str(base)), **more)


def test_base_model_and_teacher_are_not_overwritten(base, tmp_path):
    with pytest.raises(InvalidValueError, match="is the folder of the base model: choose another output"):
        check_output(request(base, base / ".." / base.name))
    with pytest.raises(InvalidValueError, match="is the folder of the teacher: choose another output"):
        check_output(request(tmp_path, base, teacher=str(base)))
    check_output(request(base, tmp_path / "new", teacher=str(base)))


def test_an_output_that_is_a_file_is_refused(base, tmp_path):
    (tmp_path / "model").touch()
    with pytest.raises(InvalidValueError, match="model is a file: choose a folder"):
        check_output(request(base, tmp_path / "model"))


def test_a_readme_that_no_run_wrote_is_kept_under_another_name(tmp_path):
    assert keep_foreign_card(tmp_path) is None
    for number, kept in enumerate(("README.old.md", "README.old2.md")):
        (tmp_path / "README.md").write_text(f"my notes {number}")
        assert keep_foreign_card(tmp_path) == kept
        assert (tmp_path / kept).read_text() == f"my notes {number}"
    (tmp_path / "README.md").write_text("Trained with `rerank train`")
    assert keep_foreign_card(tmp_path) is None
