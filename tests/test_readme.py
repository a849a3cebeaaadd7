"""The README is correct: its commands parse, its YAML loads, its Python runs, its files exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from haystack import Pipeline

from rerank_plugin.cli import app

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [
        line.split(" #")[0].removeprefix("$ ").strip() for line in lines if line.removeprefix("$ ").startswith("rerank ")
    ]


def test_there_are_commands_to_check():
    assert len(command_lines()) >= 6


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_has_known_commands_and_options(line):
    name, *arguments = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]
    # Parses the options and arguments as a real call would, without running the command.
    command.make_context(name, arguments)


def test_every_make_target_exists(repository):
    targets = set(re.findall(r"`make (\w+)`", README))
    assert targets >= {"demo", "test"}
    makefile = (repository / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_pipeline_loads(block):
    if "components:" in block:
        assert Pipeline.loads(block, allowed_modules=["rerank_plugin"]).graph.nodes


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"))
def test_every_python_block_runs(block, tmp_path, monkeypatch, repository):
    """Run in a folder where `rerank index` has been run on the sample corpus, as in the README."""
    from rerank_plugin.indexing import index_paths

    index_paths([repository / "sample_corpus"], tmp_path / "index", pipeline="indexing_keyword")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


def test_every_linked_file_exists(repository):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (repository / link).exists()] == []
