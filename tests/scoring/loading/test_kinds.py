"""Models that score no pair are refused in one line: what they are, and what to do. What belongs to a chain is not lost."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from conftest import SENTENCES, write_tokenizer
from model_families import SIZES, SPREAD, causal, qwen_tokenizer, save, write_family
from safetensors.torch import load_file, save_file

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.loading.location import has_weights, locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return {
        family: write_family(family, tmp_path_factory.mktemp("kinds") / family) for family in ("ettin", "qwen3-reranker")
    }


@pytest.fixture
def copies(originals, tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    return {family: shutil.copytree(folder, tmp_path / family) for family, folder in originals.items()}


def load(folder, backend="torch", **arguments):
    return load_scorer(ModelSpec(str(folder), **arguments), ScorerSettings(backend=backend, precision="fp32"))


def refused(folder, match, **arguments):
    with pytest.raises(ModelError, match=match) as error:
        load(folder, **arguments)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("network", ["BertModel", "BertForMaskedLM"])
def test_a_network_without_a_head_is_refused(tmp_path, network, remote):
    write_tokenizer(tmp_path / "model")
    config = transformers.BertConfig(vocab_size=200, max_position_embeddings=64, **SIZES, **SPREAD)
    getattr(transformers, network)(config).save_pretrained(str(tmp_path / "model"))
    refused(tmp_path / "model", rf"not a cross-encoder.*{network}.*rerank train", trust_remote_code=remote)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("SparseEncoder", "sparse embedding"), ("MultiVectorEncoder", "late-interaction"), (None, "embedding")],
)
def test_other_kinds_of_sentence_transformers_are_refused(copies, kind, words):
    file = copies["ettin"] / "config_sentence_transformers.json"
    config = {name: value for name, value in json.loads(file.read_text()).items() if name != "model_type"}
    file.write_text(json.dumps(config | ({"model_type": kind} if kind else {})))
    refused(copies["ettin"], rf"not a cross-encoder.*{words}.*choose a reranker")


def test_a_listwise_reranker_is_refused(tmp_path):
    config = transformers.Qwen3Config(
        vocab_size=300, num_key_value_heads=2, head_dim=8, architectures=["JinaForRanking"], **SIZES
    )
    folder = save(tmp_path / "listwise", transformers.Qwen3Model(config), qwen_tokenizer(template=None, length=64))
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(content | {"architectures": ["JinaForRanking"], "auto_map": {"AutoModel": "modeling.JinaForRanking"}})
    )
    refused(folder, r"listwise reranker \(JinaForRanking\).*all passages at once.*choose a reranker")


def test_a_chain_with_several_scores_is_refused(copies):
    folder = copies["ettin"] / "4_Dense"
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: torch.cat([tensor] * 3) for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"out_features": 3}))
    refused(copies["ettin"], "3 outputs")


def test_a_chain_without_scores_is_refused(copies):
    file = copies["ettin"] / "4_Dense" / "config.json"
    content = {name: value for name, value in json.loads(file.read_text()).items() if name != "module_output_name"}
    file.write_text(json.dumps(content))
    refused(copies["ettin"], "gives no score.*Dense")


@pytest.mark.parametrize("name", ["2_Dense/model.safetensors", "3_LayerNorm/model.safetensors", "4_Dense/config.json"])
@pytest.mark.parametrize("damage", ["emptied", "deleted"])
def test_a_damaged_module_is_named(copies, name, damage):
    file = copies["ettin"] / name
    if damage == "emptied":
        file.write_bytes(b"")
        refused(copies["ettin"], rf"{name}.*copy or download")
    else:
        file.unlink()
        refused(copies["ettin"], "cannot be loaded")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[-1].content }} before {{ messages[-2].content }}", "passage before the query"),
        ("{{ messages[-2].content }} {{ messages[-2].content }} {{ messages[-1].content }}", "writes the query 2 times"),
        ("{{ messages[-2].content | lower }} : {{ messages[-1].content | lower }}", "writes the query 0 times"),
        ("{{ messages[-2].content | replace(' ', '_') }} : {{ messages[-1].content }}", "changes the texts"),
        ("{{ messages[-2].content }}", "document"),
        ("{{ messages[-2].content }} {{ raise_exception('no') }}", "cannot carry"),
    ],
)
def test_a_chat_template_that_cannot_be_followed_is_refused(copies, template, reason):
    refused(copies["qwen3-reranker"], reason, tokenizer_kwargs={"chat_template": template})


def test_another_chat_template_is_another_model(copies):
    folder = copies["qwen3-reranker"]
    before, logits = locate(ModelSpec(str(folder))).fingerprint, load(folder).logits("red fox", SENTENCES)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("Judge whether", "Say whether"))
    assert locate(ModelSpec(str(folder))).fingerprint != before
    assert np.abs(load(folder).logits("red fox", SENTENCES) - logits).max() > 1e-3


def test_a_language_model_without_yes_and_no_is_refused(tmp_path):
    folder, _ = causal(tmp_path / "model", transformers.Qwen3Config, transformers.Qwen3ForCausalLM, template=None, length=64)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"] = []
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: id_ for token, id_ in vocabulary.items() if len(token) == 1 or id_ < 3}
    file.write_text(json.dumps(content))
    refused(folder, "no tokens 'yes' and 'no'")


def test_a_chain_of_the_hub_is_loaded_with_all_its_modules(copies, tmp_path):
    commit = "c" * 40
    repository = tmp_path / "hub" / "models--owner--ettin"
    shutil.copytree(copies["ettin"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    there = load("owner/ettin", model_kwargs={"cache_dir": str(tmp_path / "hub")})
    np.testing.assert_allclose(
        there.logits("red fox", SENTENCES), load(copies["ettin"]).logits("red fox", SENTENCES), atol=1e-6
    )


def test_pickled_weights_of_a_module_are_downloaded_too(copies):
    assert has_weights(copies["ettin"])
    file = copies["ettin"] / "2_Dense" / "model.safetensors"
    torch.save(load_file(file), file.with_name("pytorch_model.bin"))
    file.unlink()
    assert not has_weights(copies["ettin"])
    assert np.isfinite(load(copies["ettin"]).logits("red fox", SENTENCES)).all()
