"""Hub models, from a cache in the layout of huggingface_hub: two commits of a repository, without network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import SENTENCES, write_cross_encoder

from rerank_plugin.errors import InvalidValueError, ModelError
from rerank_plugin.files import CACHE_VARIABLE
from rerank_plugin.scoring.loading.location import fetch, locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer

NAME = "owner/reranker"
COMMITS = {"main": "a" * 40, "second": "b" * 40}


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[Path]:
    """A Hub cache. The second commit has different weights, tokenizer and length."""
    cache = tmp_path_factory.mktemp("hub")
    repository = cache / "models--owner--reranker"
    for seed, (branch, commit) in enumerate(COMMITS.items()):
        folder = write_cross_encoder(repository / "snapshots" / commit, seed=seed)
        if branch == "second":
            swap_moon_and_sun(folder / "tokenizer.json")
            config = folder / "tokenizer_config.json"
            config.write_text(config.read_text().replace('"model_max_length": 64', '"model_max_length": 48'))
        shutil.copytree(folder, folder / "inner")
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / branch).write_text(commit)
    with pytest.MonkeyPatch.context() as patch:
        # These commits are made up: with other versions of the packages the same ones have other weights.
        patch.setenv(CACHE_VARIABLE, str(cache / "converted"))
        yield cache


def swap_moon_and_sun(file: Path) -> None:
    tokenizer = json.loads(file.read_text())
    ids = tokenizer["model"]["vocab"]
    ids["moon"], ids["sun"] = ids["sun"], ids["moon"]
    file.write_text(json.dumps(tokenizer))


def spec(hub, **kwargs) -> ModelSpec:
    return ModelSpec(NAME, model_kwargs={"cache_dir": str(hub), **kwargs})


def scorer(spec, backend="torch"):
    return load_scorer(spec, ScorerSettings(backend=backend, precision="fp32"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize(
    ("revision", "commit"), [("main", "main"), (None, "main"), ("second", "second"), ("b" * 40, "second")]
)
def test_v_a_revision_reaches_configuration_tokenizer_and_weights(hub, backend, revision, commit):
    folder = hub / "models--owner--reranker" / "snapshots" / COMMITS[commit]
    expected, ours = scorer(ModelSpec(str(folder)), backend), scorer(spec(hub, revision=revision), backend)
    np.testing.assert_allclose(ours.logits("moon", SENTENCES), expected.logits("moon", SENTENCES), atol=1e-6)
    assert ours.tokenizer.input_spec == expected.tokenizer.input_spec
    assert ours.tokenizer.input_spec.max_length == (64 if commit == "main" else 48)
    moon, sun = (int(ids[0]) for ids in ours.tokenizer.encode(["moon", "sun"]))
    assert (moon > sun) == (commit == "main")


def test_v_fingerprints_depend_on_commits_not_on_branch_names(hub):
    located = {revision: locate(spec(hub, revision=revision)) for revision in ("main", None, "a" * 40, "second")}
    assert located["main"].fingerprint == located[None].fingerprint == located["a" * 40].fingerprint
    assert located["main"].fingerprint != located["second"].fingerprint
    assert [located[name].commit for name in ("main", "second")] == list(COMMITS.values())


@pytest.mark.parametrize("place", ["model_kwargs", "tokenizer_kwargs", "config_kwargs"])
def test_v_a_revision_may_be_in_any_of_the_keyword_arguments(hub, place):
    arguments = {"model_kwargs": {}, "tokenizer_kwargs": {}, "config_kwargs": {}}
    arguments[place] = {"cache_dir": str(hub), "revision": "second"}
    assert locate(ModelSpec(NAME, **arguments)).commit == COMMITS["second"]
    scorer(ModelSpec(NAME, **arguments))


def test_v_two_revisions_contradict_each_other(hub):
    with pytest.raises(InvalidValueError, match=r"revision in tokenizer_kwargs.*'second' and 'main'"):
        locate(ModelSpec(NAME, model_kwargs={"revision": "main"}, tokenizer_kwargs={"revision": "second"}))


@pytest.mark.parametrize("value", [5, "", ["main"]])
@pytest.mark.parametrize("name", ["revision", "subfolder"])
def test_v_a_revision_that_is_not_text_is_named(hub, name, value):
    if (name, value) == ("subfolder", ""):
        return
    with pytest.raises(InvalidValueError, match=name):
        locate(spec(hub, **{name: value}))


def test_v_a_revision_of_a_folder_is_refused(cross_encoder):
    with pytest.raises(InvalidValueError, match=r"revision 'main'.*leave revision out"):
        locate(ModelSpec(str(cross_encoder), model_kwargs={"revision": "main"}))


def test_v_a_subfolder_is_used_for_everything(hub, tmp_path):
    inner = spec(hub, revision="second", subfolder="inner")
    assert fetch(locate(inner)).name == "inner"
    expected = scorer(spec(hub, revision="second"))
    np.testing.assert_allclose(scorer(inner).logits("moon", SENTENCES), expected.logits("moon", SENTENCES), atol=1e-6)
    folder = hub / "models--owner--reranker" / "snapshots" / COMMITS["second"]
    local = ModelSpec(str(folder), model_kwargs={"subfolder": "inner"})
    np.testing.assert_allclose(scorer(local).logits("moon", SENTENCES), expected.logits("moon", SENTENCES), atol=1e-6)
    with pytest.raises(InvalidValueError, match=r"'\.\./' is not inside"):
        locate(ModelSpec(str(folder), model_kwargs={"subfolder": "../"}))


@pytest.mark.parametrize("revision", ["third", "c" * 40])
def test_an_unknown_revision_is_one_line(hub, revision):
    with pytest.raises(ModelError, match=r"owner/reranker.*cannot be loaded") as error:
        locate(spec(hub, revision=revision))
    assert "\n" not in str(error.value)


def test_weights_that_were_never_downloaded_are_an_error(hub, tmp_path):
    snapshot = tmp_path / "models--owner--reranker" / "snapshots" / COMMITS["main"]
    snapshot.mkdir(parents=True)
    shutil.copy(hub / "models--owner--reranker" / "snapshots" / COMMITS["main"] / "config.json", snapshot)
    (tmp_path / "models--owner--reranker" / "refs").mkdir()
    (tmp_path / "models--owner--reranker" / "refs" / "main").write_text(COMMITS["main"])
    with pytest.raises(ModelError, match=r"owner/reranker.*cannot be loaded") as error:
        scorer(spec(tmp_path))
    assert "\n" not in str(error.value)


def test_a_token_is_not_shown():
    shown = repr(ModelSpec(NAME, token="hf_secret", model_kwargs={"token": "hf_secret"}))
    assert "hf_secret" not in shown + repr(ModelSpec(NAME, token="hf_secret").hub_options())
