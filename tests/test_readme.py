"""The README and the docs are correct: their commands parse and run, their YAML loads, their Python prints what they show."""

import re
import shlex

import pytest
import typer
from code_blocks import PAGES, PICTURE, ROOT, blocks, differences, prepare, run_command, run_python
from haystack import Pipeline

from rerank_plugin.cli import app

README = ROOT / "README.md"


def command_lines() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.code.replace("\\\n", " ").splitlines()]
    lines += [block.code for block in blocks("console")]
    return sorted({re.split(r"\s+# ", line.removeprefix("$ "))[0].strip() for line in lines if "rerank " in line})


def own_commands() -> list[str]:
    return [line for line in command_lines() if line.startswith("rerank ")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder that the pages take for granted."""
    folder = tmp_path_factory.mktemp("pages")
    prepare(folder)
    return folder


@pytest.fixture
def there(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("COLUMNS", "100")


def test_there_is_something_to_check():
    assert len(own_commands()) >= 15
    assert len(blocks("python")) >= 6
    assert len(blocks("console")) >= 2


@pytest.mark.parametrize("line", own_commands())
def test_every_command_line_has_known_commands_and_options(line):
    arguments = shlex.split(line)[1:]
    name, *arguments = [argument for argument in arguments if argument != "--debug"]
    if name == "COMMAND":
        return
    command = typer.main.get_command(app).commands[name]
    # Parses the options and arguments as a real call would, without running the command.
    command.make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_and_script_exists(page):
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([\w-]+)", text, flags=re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []
    scripts = set(re.findall(r"(?:benchmarks|examples)/[\w/]+\.py", text))
    assert [script for script in scripts if not (ROOT / script).is_file()] == []
    if page == README:
        assert targets >= {"demo", "test"}


def test_u8_the_readme_has_an_install_line():
    assert "pip install rerank-plugin" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_every_pipeline_loads(block):
    if "components:" in block.code:
        assert Pipeline.loads(block.code, allowed_modules=["rerank_plugin"]).graph.nodes


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_python_block_shows_its_output(block):
    assert block.output, f"{block} prints something that the page does not show: add a text block, and run make refresh-docs"


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_u1_every_python_block_prints_what_the_page_shows(block, there):
    assert differences(block.output or "", run_python(block.code, str(block))) == []


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_u1_every_command_prints_what_the_page_shows(block, there):
    assert differences(block.output or "", run_command(block.code)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_linked_file_exists(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_picture_is_small_shows_the_answer_and_needs_nothing_from_elsewhere():
    svg = PICTURE.read_text(encoding="utf-8")
    assert len(svg) < 40_000
    assert "Descaling" in svg
    assert set(re.findall(r"https?://[^\s\"<)]+", svg)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
