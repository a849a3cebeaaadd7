import select
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SENTENCES, write_cross_encoder

from rerank_plugin.errors import MissingDependencyError, ModelError
from rerank_plugin.files import cache_folder
from rerank_plugin.scoring.loading.conversions import FORMAT, RECORD, Conversion, find_damage, find_or_convert
from rerank_plugin.scoring.loading.converted import ConversionRecipe, open_converted
from rerank_plugin.scoring.loading.location import locate
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
    assert sorted(path.name for path in first.iterdir()) == [RECORD, "model"]
    assert [path.name for path in cache.iterdir()] == [first.name]


def test_a_conversion_that_fails_leaves_nothing(cache):
    def broken(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        find_or_convert(CONVERSION, broken)
    assert list(cache.iterdir()) == []


def test_an_incomplete_folder_is_replaced(cache):
    folder = cache / CONVERSION.folder_name
    folder.mkdir(parents=True)
    (folder / "half").write_text("x")
    find_or_convert(CONVERSION, lambda new: (new / "model").write_text("weights"))
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, "model"]


def test_concurrent_conversions_are_made_once(cache):
    written, folders = [], []

    def write(folder):
        written.append(folder)
        (folder / "model").write_text("weights")

    threads = [threading.Thread(target=lambda: folders.append(find_or_convert(CONVERSION, write))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(written), len(folders), len(set(folders))) == (1, 8, 1)
    assert [path.name for path in cache.iterdir()] == [folders[0].name]


CONVERT = f"""
import sys
from rerank_plugin.scoring.loading.conversions import Conversion, find_or_convert
def write(folder):
    (folder / "model").write_text("half")
    print("writing", flush=True)
    sys.stdin.readline()
    (folder / "model").write_text("weights")
print(find_or_convert(Conversion(*{list(vars(CONVERSION).values())!r}), write), flush=True)
"""


def converting() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CONVERT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_second_process_waits_for_the_first(cache):
    with converting() as first, converting() as second:
        ready, _, _ = select.select([first.stdout, second.stdout], [], [], 60)
        one, other = (first, second) if ready[0] is first.stdout else (second, first)
        assert one.stdout.readline() == "writing\n"
        folder = one.communicate("\n")[0].strip()
        assert other.communicate("\n")[0].splitlines() == [folder]  # it wrote nothing itself
    assert (Path(folder) / "model").read_text() == "weights"


def test_leftovers_of_a_killed_conversion_are_removed_and_a_running_one_is_kept(cache):
    with converting() as process:
        assert process.stdout.readline() == "writing\n"
        other = replace(CONVERSION, precision="int8")
        find_or_convert(other, lambda folder: (folder / "model").write_text("weights"))
        (running,) = cache.glob(".*.partial")  # another conversion's clean-up does not touch it
        assert (running / "model").read_text() == "half"
        process.kill()
    assert running.exists()
    find_or_convert(replace(other, name="third"), lambda folder: (folder / "model").write_text("weights"))
    assert not list(cache.glob(".*"))
    folder = find_or_convert(CONVERSION, lambda folder: (folder / "model").write_text("weights"))
    assert (folder / "model").read_text() == "weights"


def test_an_intact_conversion_is_read_from_a_cache_without_writing_there(cache):
    folder = find_or_convert(CONVERSION, lambda folder: (folder / "model").write_text("weights"))
    cache.chmod(0o555)
    before = (cache.stat().st_mtime_ns, folder.stat().st_mtime_ns)
    try:
        assert find_or_convert(CONVERSION, pytest.fail) == folder
        assert (cache.stat().st_mtime_ns, folder.stat().st_mtime_ns) == before
    finally:
        cache.chmod(0o755)


def test_a_read_only_cache_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"RERANK_PLUGIN_CACHE.*torch"):
        find_or_convert(CONVERSION, lambda folder: None)


def test_the_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
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


@pytest.mark.slow
def test_different_weights_or_settings_need_another_conversion(tmp_path, cache):
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


def future(file):
    file.write_text(file.read_text().replace(f'"format": {FORMAT}', '"format": 99'))


DAMAGES = {
    "deleted": lambda file: file.unlink(),
    "emptied": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "one bit flipped": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "not JSON": lambda file: file.write_text("{"),
    "a list": lambda file: file.write_text("[]"),
    "no files": lambda file: file.write_text('{"format": 2, "files": {}}'),
}


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.slow  # converts twice
@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_s2_a_damaged_conversion_is_made_again_with_a_warning(cross_encoder, cache, backend, caplog):
    expected = scorer(cross_encoder, backend).logits("moon", SENTENCES)
    (folder,) = cache.iterdir()
    names = sorted(path.name for path in folder.iterdir())
    assert {RECORD, "input.json", "tokenizer.json"} < set(names)
    for name in names:
        data = (folder / name).read_bytes()
        for damage in ["deleted", "emptied", "cut", "one bit flipped"]:
            if (name, damage) == (RECORD, "one bit flipped"):
                continue  # the bit may be in a place that is not read
            DAMAGES[damage](folder / name)
            assert find_damage(folder) is not None, (name, damage)
            (folder / name).write_bytes(data)
        assert find_damage(folder) is None
    weights = max(folder.iterdir(), key=lambda file: file.stat().st_size)
    DAMAGES["one bit flipped"](weights)
    np.testing.assert_array_equal(scorer(cross_encoder, backend).logits("moon", SENTENCES), expected)
    assert f"is damaged ({weights.name} does not have the checksum" in caplog.text
    assert find_damage(folder) is None
    assert list(cache.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["model", "folder/part", RECORD])
@pytest.mark.parametrize("damage", ["deleted", "emptied", "cut", "one bit flipped"])
def test_s2_any_damaged_file_causes_a_new_conversion(cache, name, damage, caplog):
    def write(folder):
        (folder / "folder").mkdir()
        (folder / "folder" / "part").write_text("a part of the weights")
        (folder / "model").write_text("weights")

    folder = find_or_convert(CONVERSION, write)
    if (name, damage) != (RECORD, "one bit flipped"):
        DAMAGES[damage](folder / name)
        assert find_or_convert(CONVERSION, write) == folder
        assert "is damaged" in caplog.text
    assert (folder / "folder" / "part").read_text() == "a part of the weights"
    assert find_damage(folder) is None
    assert list(cache.iterdir()) == [folder]


@pytest.mark.parametrize("damage", [DAMAGES["not JSON"], DAMAGES["a list"], DAMAGES["no files"], future])
def test_s2_an_invalid_record_is_not_a_conversion(cache, damage):
    folder = find_or_convert(CONVERSION, lambda folder: (folder / "model").write_text("weights"))
    damage(folder / RECORD)
    find_or_convert(CONVERSION, lambda folder: (folder / "model").write_text("again"))
    assert (folder / "model").read_text() == "again"


def test_s2_a_conversion_its_library_cannot_read_names_the_folder_to_delete(cache):
    folder = find_or_convert(CONVERSION, lambda folder: (folder / "model.xml").write_text("<net>"))
    from rerank_plugin.scoring.backends import BACKENDS, BackendInput
    from rerank_plugin.scoring.loading.converted import ConvertedModel

    model = ConvertedModel(located=None, folder=folder, tokenizer=None)
    for backend in ("openvino", "onnx"):
        with pytest.raises(ModelError, match=f"{folder.name}.*delete its folder") as error:
            BACKENDS[backend](BackendInput(model, "fp32"))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("backend", "precision", "package", "extra"),
    [("openvino", "int8", "nncf", "int8"), ("onnx", "int8", "nncf", "int8"), ("onnx", "fp32", "onnx", "onnx")],
)
def test_t12_a_missing_package_is_reported_before_anything_is_loaded(
    tmp_path, cross_encoder, cache, monkeypatch, backend, precision, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    folder = tmp_path / "model"
    shutil.copytree(cross_encoder, folder)
    (folder / "model.safetensors").unlink()  # loading it would raise another error
    settings = ScorerSettings(backend=backend, precision=precision)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*rerank-plugin\[{extra}\]"):
        load_scorer(ModelSpec(str(folder)), settings)
    assert list(cache.iterdir()) == []


def test_a_network_that_cannot_be_converted_is_one_line_with_a_remedy(cross_encoder, cache):
    def write(model, folder):
        raise RuntimeError("unsupported\noperator")

    with pytest.raises(
        ModelError, match="cannot be converted for backend 'x': unsupported operator; choose backend 'torch'"
    ):
        open_converted(locate(ModelSpec(str(cross_encoder))), ConversionRecipe("x", "fp32", "1", write))
    assert list(cache.iterdir()) == []
