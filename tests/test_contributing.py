"""The files and make targets named in CONTRIBUTING.md exist."""

import re

import pytest


@pytest.fixture(scope="module")
def text(repository):
    return (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_file_that_is_named_exists(text, repository):
    names = set(re.findall(r"[\w/]+\.(?:py|yaml|toml|txt)\b", text))
    folders = [repository, *(repository / folder for folder in ("rerank_plugin", "pipelines", "tests"))]
    files = {path.as_posix() for folder in folders[1:] for path in folder.rglob("*") if path.is_file()}
    missing = [
        name
        for name in sorted(names)
        if not any((folder / name).is_file() for folder in folders) and not any(file.endswith(f"/{name}") for file in files)
    ]
    assert names
    assert missing == []


def test_every_make_target_exists(text, repository):
    targets = set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, flags=re.MULTILINE))
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    assert {"check", "test", "soak", "test-lowest"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


def test_each_way_is_drawn_in_about_ten_lines(text):
    ways = re.findall(r"^## A [^\n]* way through [^\n]*\n\n```text\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(ways) == 3
    assert all(8 <= len(way.splitlines()) <= 13 for way in ways)
