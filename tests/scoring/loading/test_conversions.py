import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import SENTENCES, write_cross_encoder

from rerank_plugin.errors import ModelError
from rerank_plugin.files import cache_folder
from rerank_plugin.scoring.loading.conversions import COMPLETE, Conversion, find_or_convert
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer

CONVERSION = Conversion("abc", "openvino", "fp32", "openvino 1", name="tiny")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def scorer(folder, backend):
    return load_scorer(ModelSpec(str(folder)), ScorerSettings(backend=backend, precision="fp32"))


def test_a_model_is_converted_once(cache):
    written = []

    def write(folder):
        written.append(folder)
        (folder / "model").write_text("weights")

    first = find_or_convert(CONVERSION, write)
    assert find_or_convert(CONVERSION, write) == first
    assert len(written) == 1
    assert sorted(path.name for path in first.iterdir()) == [COMPLETE, "model"]
    assert [path.name for path in cache.iterdir()] == [first.name]


def test_a_conversion_that_fails_leaves_nothing(cache):
    def broken(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        find_or_convert(CONVERSION, broken)
    assert list(cache.iterdir()) == []


def test_a_folder_that_is_not_whole_is_replaced(cache):
    folder = cache / CONVERSION.folder_name
    folder.mkdir(parents=True)
    (folder / "half").write_text("x")
    find_or_convert(CONVERSION, lambda new: (new / "model").write_text("weights"))
    assert sorted(path.name for path in folder.iterdir()) == [COMPLETE, "model"]


@pytest.mark.slow
def test_of_several_that_convert_at_once_all_get_a_whole_model(cache):
    gate, folders = threading.Barrier(4), []

    def write(folder):
        (folder / "model").write_text("weights")
        gate.wait(10)

    threads = [threading.Thread(target=lambda: folders.append(find_or_convert(CONVERSION, write))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 1
    assert len(folders) == 4
    assert [path.name for path in cache.iterdir()] == [folders[0].name]


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"RERANK_PLUGIN_CACHE.*torch"):
        find_or_convert(CONVERSION, lambda folder: None)


def test_the_cache_lies_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("RERANK_PLUGIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rerank_plugin"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_once_converted_a_model_needs_no_torch(cross_encoder, cache, backend):
    expected = scorer(cross_encoder, backend).logits("moon", SENTENCES)
    code = f"""
import sys
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
scorer = load_scorer(ModelSpec({str(cross_encoder)!r}), ScorerSettings(backend={backend!r}, precision="fp32"))
print(*scorer.logits("moon", {SENTENCES!r}), sep="\\n")
print({{"torch", "transformers", "sentence_transformers"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *logits, heavy = done.stdout.splitlines()
    assert heavy == "set()"
    np.testing.assert_allclose([float(logit) for logit in logits], expected, atol=1e-6)


def test_other_weights_or_settings_are_another_conversion(tmp_path, cache):
    write_cross_encoder(tmp_path / "a", seed=1)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    write_cross_encoder(tmp_path / "b", seed=2)
    first = scorer(tmp_path / "a", "openvino")
    assert scorer(tmp_path / "copy", "openvino").identity == first.identity
    assert scorer(tmp_path / "b", "openvino").identity != first.identity
    (tmp_path / "a" / "README.md").write_text("a model card changes nothing")
    (tmp_path / "a" / "calibration.json").write_text("{}")
    assert scorer(tmp_path / "a", "openvino").identity == first.identity
    spec = ModelSpec(str(tmp_path / "a"), config_kwargs={"hidden_act": "relu"})
    other = load_scorer(spec, ScorerSettings(backend="openvino", precision="fp32"))
    assert other.identity != first.identity
    assert not np.allclose(other.logits("moon", SENTENCES), first.logits("moon", SENTENCES))


def test_a_damaged_conversion_says_which_folder_to_delete(cross_encoder, cache):
    scorer(cross_encoder, "openvino")
    (folder,) = cache.iterdir()
    (folder / "input.json").write_text("{")
    with pytest.raises(ModelError, match=folder.name):
        scorer(cross_encoder, "openvino")
