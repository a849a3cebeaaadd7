import json
from pathlib import Path

import pytest
import yaml
from conftest import write_cross_encoder
from safetensors import safe_open
from tokenizers import Tokenizer

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.loading import spec
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, ModelSpec, bundled_models, resolve_model
from rerank_plugin.scoring.loading.torch_model import load_in_torch


def load(model):
    return load_in_torch(locate(ModelSpec(str(model)))).cross_encoder


def test_a_bundled_name_becomes_a_folder_of_the_package():
    assert DEFAULT_MODEL in bundled_models()
    assert resolve_model(DEFAULT_MODEL).endswith(DEFAULT_MODEL)


def test_the_model_that_the_package_lacks_is_said_to_be_in_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(spec, "BUNDLED_FOLDER", tmp_path)
    with pytest.raises(ModelError, match=r"'minilm-l6-en' does not come with the package: download https://.*/minilm-l6-en"):
        resolve_model("minilm-l6-en")


@pytest.mark.parametrize(("name", "megabytes"), [("minilm-l6-en", 50), ("me5-l12-enru", 80)])
def test_a_bundled_model_is_small_and_says_where_it_comes_from(name, megabytes):
    folder = Path(resolve_model(name))
    assert (folder / "model.safetensors").stat().st_size <= megabytes * 1e6
    front = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert {"license", "language", "base_model"} <= set(front)
    with safe_open(folder / "model.safetensors", framework="np") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"F16"}  # noqa: SIM118 - no dict


@pytest.mark.parametrize("name", bundled_models())
def test_a_bundled_tokenizer_shortens_and_pads_nothing_by_itself(name):
    """Other programs take a length that training left there for the model's."""
    folder = Path(resolve_model(name))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.truncation is None
    assert tokenizer.padding is None
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == 512
    assert "max_length" not in settings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "answer", "other"),
    [
        ("столица Франции", "Париж — столица и самый большой город Франции.", "Франция славится сырами и вином."),
        ("почему кофе горчит", "Кофе горчит, если помол слишком мелкий.", "Кофе растёт в Бразилии и Эфиопии."),
        ("why is my coffee bitter", "Bitterness comes from a grind that is too fine.", "Coffee grows in Brazil."),
    ],
)
def test_the_bilingual_model_reads_both_languages(query, answer, other):
    model = load("me5-l12-enru")
    better, worse = model.predict([(query, answer), (query, other)])
    assert better > worse


def test_a_hub_id_is_left_as_it_is():
    assert resolve_model("cross-encoder/ms-marco-MiniLM-L6-v2") == "cross-encoder/ms-marco-MiniLM-L6-v2"


@pytest.mark.parametrize("name", ["minilm-l6-xx", "./no/such/folder", "/no/such", "a/b/c", "~/none"])
def test_an_unknown_name_lists_what_exists(name):
    with pytest.raises(ModelError, match="me5-l12-enru") as error:
        resolve_model(name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hub_id_that_cannot_be_reached_is_one_line():
    with pytest.raises(ModelError, match="no-such-owner/no-such-model") as error:
        load("no-such-owner/no-such-model")
    assert "\n" not in str(error.value)


def test_an_embedding_model_is_refused(bi_encoder):
    with pytest.raises(ModelError, match=r"not a cross-encoder.*embedding model.*choose a reranker"):
        load(str(bi_encoder))


def test_a_classifier_with_several_outputs_is_refused(tmp_path):
    with pytest.raises(ModelError, match="3 outputs"):
        load(str(write_cross_encoder(tmp_path / "nli", labels=3)))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(str(tmp_path))


def test_a_damaged_config_is_one_line(tmp_path, cross_encoder):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(tmp_path))


@pytest.mark.parametrize("name", bundled_models())
def test_a_bundled_model_says_that_it_computes_in_float32(name):
    config = json.loads((Path(resolve_model(name)) / "config.json").read_text())
    assert config["dtype"] == "float32"
