"""Model folders that are damaged or hostile: nothing is executed, and one line names the file and the remedy."""

import json
import os
import pickle
import shutil

import pytest
import torch
from conftest import write_tokenizer
from early_exits import early_exit_of
from safetensors.torch import load_file, save_file

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.early_exit import EarlyExitNetwork
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer

WEIGHTS = "model.safetensors"


@pytest.fixture
def model(tmp_path, cross_encoder, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(cross_encoder, tmp_path / "model")


def refused(model, match, *, backends=("torch", "openvino"), **arguments):
    for backend in backends:
        with pytest.raises(ModelError, match=match) as error:
            load_scorer(ModelSpec(str(model), **arguments), ScorerSettings(backend=backend, precision="fp32"))
        assert "\n" not in str(error.value)


class Bomb:
    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return os.mkdir, (self.file,)


@pytest.mark.parametrize("kind", ["torch", "plain"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", WEIGHTS])
def test_s2_a_pickle_bomb_is_not_executed(model, tmp_path, kind, name):
    (model / WEIGHTS).unlink()
    if kind == "torch":
        torch.save({"bert": Bomb(tmp_path / "executed")}, model / name)
    else:
        (model / name).write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refused(model, rf"{name}.*copy or download the model again")
    assert not (tmp_path / "executed").exists()


def test_pickled_weights_are_read_as_tensors_only(model, cross_encoder):
    torch.save(load_file(model / WEIGHTS), model / "pytorch_model.bin")
    (model / WEIGHTS).unlink()
    settings = ScorerSettings(backend="torch", precision="fp32")
    old, new = (load_scorer(ModelSpec(str(folder)), settings) for folder in (model, cross_encoder))
    assert old.logits("moon", ["sun"]) == new.logits("moon", ["sun"])


CUTS = {"empty": lambda data: b"", "cut": lambda data: data[: len(data) // 2], "garbage": lambda data: b"\xff" * len(data)}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_s2_a_damaged_file_is_named(model, name, cut):
    (model / name).write_bytes(CUTS[cut]((model / name).read_bytes()))
    refused(model, rf"{name}.*copy or download the model again")


@pytest.mark.parametrize("cut", CUTS)
def test_s2_a_damaged_pickle_is_named(model, cut):
    torch.save(load_file(model / WEIGHTS), model / "pytorch_model.bin")
    (model / WEIGHTS).unlink()
    file = model / "pytorch_model.bin"
    file.write_bytes(CUTS[cut](file.read_bytes()))
    refused(model, r"pytorch_model\.bin", backends=["torch"])


@pytest.mark.parametrize(
    "text", ["[]", "3", '"x"', "null", '{"model_type": 5}', '{"model_type": "bert", "hidden_size": "x"}', "[" * 5000]
)
def test_s2_a_configuration_of_the_wrong_types_is_one_line(model, text):
    (model / "config.json").write_text(text)
    refused(model, "model", backends=["torch"])


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 64},
        {"hidden_size": -1},
        {"vocab_size": 10**12},
        {"num_attention_heads": 0},
        {"num_hidden_layers": "two"},
    ],
)
def test_s2_weights_that_do_not_fit_the_configuration_are_refused(model, change):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | change))
    refused(model, "cannot be loaded")


@pytest.mark.parametrize("missing", ["classifier.weight", "bert.encoder.layer.1.attention.self.query.weight"])
def test_s2_missing_weights_are_refused(model, missing):
    tensors = load_file(model / WEIGHTS)
    del tensors[missing]
    save_file(tensors, model / WEIGHTS, metadata={"format": "pt"})
    refused(model, rf"lacks 1 of its weights \({missing}.*copy or download")


def test_s2_more_layers_than_weights_are_refused(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    refused(model, "lacks 16 of its weights")


def test_s2_the_tokenizer_of_another_model_is_refused(model):
    tensors = load_file(model / WEIGHTS)
    tensors["bert.embeddings.word_embeddings.weight"] = tensors["bert.embeddings.word_embeddings.weight"][:90].contiguous()
    save_file(tensors, model / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 90}))
    refused(model, r"tokenizer\.json has \d+ tokens.*embeddings of 90")


def test_s2_no_weights_and_no_tokenizer_are_named(model, tmp_path):
    (model / WEIGHTS).unlink()
    refused(model, "has no weights")
    write_tokenizer(tmp_path / "other")
    shutil.copy(model / "config.json", tmp_path / "other" / "config.json")
    refused(tmp_path / "other", "has no weights")


@pytest.mark.parametrize("damage", ["empty", "cut", "shape", "layers", "missing", "metadata"])
def test_s2_a_damaged_early_exit_network_is_one_line(model, damage):
    good = early_exit_of(model)
    weights = {**good.weights, "classifier.weight": good.weights["classifier.weight"][:, : 8 if damage == "shape" else None]}
    if damage == "missing":
        del weights["classifier.bias"]
    file = EarlyExitNetwork(9 if damage == "layers" else 1, weights).save(model)
    if damage == "metadata":
        save_file({"weight": torch.zeros(32)}, file)
    elif damage in CUTS:
        file.write_bytes(CUTS[damage](file.read_bytes()))
    refused(model, "early-exit network", early_exit=True)


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "~nobody-here/x/y", 5, None, b"m"])
def test_v_an_impossible_model_name_is_a_project_error(name):
    with pytest.raises((ModelError, ValueError), match="model") as error:
        load_scorer(ModelSpec(name), ScorerSettings())
    assert type(error.value).__module__ == "rerank_plugin.errors"
    assert len(str(error.value)) < 500
