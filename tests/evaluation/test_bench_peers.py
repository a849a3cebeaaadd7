"""Peers of `rerank bench` in environments of their own. The peer here is a package of ten lines under fastembed's name."""

import os
import signal
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rerank_plugin.errors import ModelError, RerankError
from rerank_plugin.evaluation.bench.peers import Peer, python_of

FILES = {
    "fastembed/__init__.py": "",
    "fastembed/common/__init__.py": "",
    "fastembed/common/model_description.py": """
        class ModelSource:
            def __init__(self, hf):
                self.hf = hf
    """,
    "fastembed/rerank/__init__.py": "",
    "fastembed/rerank/cross_encoder.py": """
        import pathlib, threading
        print("libraries print to standard output")
        meeting = threading.Barrier(2, timeout=30)

        class TextCrossEncoder:
            @classmethod
            def add_custom_model(cls, model, sources, model_file):
                cls.file = model_file

            def __init__(self, name, specific_model_path):
                self.bonus = float((pathlib.Path(specific_model_path) / self.file).read_text())

            def rerank(self, query, texts):
                if query == "fail":
                    raise ValueError("it does not like the query")
                if query == "meet":
                    meeting.wait()
                words = set(query.split())
                return [self.bonus + len(words & set(text.split())) for text in texts]
    """,
    "fastembed-0.9.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: fastembed\nVersion: 0.9.1\n",
    "fastembed-0.9.1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
FILES["fastembed-0.9.1.dist-info/RECORD"] = "".join(f"{name},,\n" for name in [*FILES, "fastembed-0.9.1.dist-info/RECORD"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    file = tmp_path_factory.mktemp("wheels") / "fastembed-0.9.1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in FILES.items():
            lines = text.splitlines()
            archive.writestr(name, "\n".join(line.removeprefix(" " * 8) for line in lines) + "\n")
    return str(file)


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return python_of("fastembed", requirements=(wheel,))


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.onnx").write_text("0.5")
    return tmp_path


@pytest.fixture
def peer(python, model):
    peer = Peer("fastembed", model, callers=2, python=python)
    yield peer
    peer.close()


@pytest.mark.slow
def test_a_peer_scores_in_the_order_of_the_texts(peer):
    assert peer.score("red fox", ["a fox", "a hen", "the red fox"]) == [1.5, 0.5, 2.5]
    assert peer.score("лиса", ["", "лиса"]) == [0.5, 1.5]
    assert peer.process_id != os.getpid()


@pytest.mark.slow
def test_calls_reach_a_peer_at_the_same_time(peer):
    with ThreadPoolExecutor(2) as callers:
        assert list(callers.map(lambda text: peer.score("meet", [text]), ["we meet", "nobody"])) == [[1.5], [0.5]]


@pytest.mark.slow
def test_what_a_peer_fails_at_is_said_and_it_goes_on(peer):
    with pytest.raises(RerankError, match="fastembed failed: ValueError: it does not like the query"):
        peer.score("fail", ["text"])
    assert peer.score("fox", ["fox"]) == [1.5]


@pytest.mark.slow
def test_a_model_that_a_peer_cannot_load_is_an_error(python, tmp_path):
    with pytest.raises(ModelError, match=r"fastembed cannot load .*FileNotFoundError"):
        Peer("fastembed", tmp_path, callers=1, python=python)


@pytest.mark.slow
def test_the_death_of_a_peer_is_an_error_for_its_calls(peer):
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(peer.score, "meet", ["alone"])
        os.kill(peer.process_id, signal.SIGKILL)
        with pytest.raises(RerankError, match="fastembed has ended"):
            waiting.result()
    with pytest.raises(RerankError, match="fastembed has ended"):
        peer.score("fox", ["fox"])


def test_a_program_that_is_no_peer_is_an_error(tmp_path):
    """The peer is not installed in this environment."""
    with pytest.raises(ModelError, match=r"cannot load .*ModuleNotFoundError: No module named 'fastembed'"):
        Peer("fastembed", tmp_path, callers=1, python=Path(sys.executable))


@pytest.mark.slow
def test_an_environment_is_made_once(python, wheel, monkeypatch, caplog):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(python.parents[3]))
    assert python_of("fastembed", requirements=(wheel,)) == python
    assert not caplog.records


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_an_error_and_is_tried_again(monkeypatch, tmp_path):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path))
    missing = (str(tmp_path / "missing-1-py3-none-any.whl"),)
    for _ in range(2):
        with pytest.raises(RerankError, match=r"fastembed could not be installed .*leave out --system fastembed"):
            python_of("fastembed", requirements=missing)
