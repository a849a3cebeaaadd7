"""The site: builds strictly and without the network, its links lead somewhere, every public name is in the reference."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

PUBLIC = (
    "rerank_plugin",
    "rerank_plugin.components",
    "rerank_plugin.evaluation",
    "rerank_plugin.indexing",
    "rerank_plugin.judgements",
)
# Where a browser fetches something from by itself, and not only when the reader follows a link.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
# Only named, never fetched.
NAMED = {"canonical", "next", "prev", "edit"}


class Page(HTMLParser):
    """The ids, the links and the fetched addresses of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.text = file.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        if tag == "a" and "href" in attributes:
            self.links.add(attributes["href"])
        if tag in FETCHED and attributes.get(FETCHED[tag]) and attributes.get("rel") not in NAMED:
            self.fetched.add(attributes[FETCHED[tag]])


def dead_links(pages: dict[Path, Page], site: Path) -> list[str]:
    dead = []
    for file, page in pages.items():
        if file.name == "404.html":
            continue  # its links start at the root of the site
        for link in page.links | page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            found = target.is_file() and (
                not parts.fragment or target.suffix != ".html" or unquote(parts.fragment) in pages[target].ids
            )
            if not found and parts.fragment != "__skip":
                dead.append(f"{file.relative_to(site)}: {link}")
    return sorted(dead)


def test_the_pages_that_the_pipelines_name_exist(repository):
    site = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["urls"]["Documentation"]
    named = set()
    for file in (repository / "pipelines").glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        assert "README" not in text, "there is none beside an installed package"
        named |= set(re.findall(r"https?://(?!localhost)[^\s,)]+", text))
    assert named
    for address in named:
        assert address.startswith(site), address
        assert (repository / "docs" / f"{address.removeprefix(site).strip('/')}.md").is_file(), address


def documented_object(module: str, name: str) -> set[str]:
    """The anchors under which the reference may show a public name: that of its module, or of the place that defines it."""
    value = getattr(importlib.import_module(module), name)
    home = getattr(value, "__module__", None)
    return {f"{module}.{name}", f"rerank_plugin.{name}", f"{home}.{name}"}


@pytest.mark.slow
def test_the_site_is_built_strictly_and_offline_and_shows_every_public_name(repository, tmp_path):
    site = tmp_path / "site"
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    # Not --quiet: that also hides the warnings from --strict.
    assert done.returncode == 0, done.stderr
    assert [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO ")] == []

    pages = {file.resolve(): Page(file) for file in site.rglob("*.html")}
    assert len(pages) >= 15
    assert {address for page in pages.values() for address in page.fetched if "//" in address} == set()
    assert [file.name for file in site.rglob("*.css") if "url(http" in file.read_text(encoding="utf-8")] == []
    assert [file for file, page in pages.items() if 'class="mermaid"' in page.text] == [], (
        "mermaid is fetched from elsewhere"
    )
    assert dead_links(pages, site.resolve()) == []

    shown = set().union(*(page.ids for page in pages.values()))
    missing = [
        f"{module}.{name}"
        for module in PUBLIC
        for name in importlib.import_module(module).__all__
        if not name.startswith("__") and not documented_object(module, name) & shown
    ]
    assert missing == []
    assert [file.name for file, page in pages.items() if ":param " in page.text or ":returns:" in page.text] == []


def test_every_public_name_and_error_has_a_docstring():
    modules = [importlib.import_module(module) for module in PUBLIC]
    values = [getattr(module, name) for module in modules for name in module.__all__ if not name.startswith("__")]
    errors = importlib.import_module("rerank_plugin.errors")
    values += [value for value in vars(errors).values() if isinstance(value, type)]
    assert [value for value in values if not (value.__doc__ or "").strip()] == []


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_package(repository):
    from message_texts import quoted_messages, texts_of

    texts = texts_of(repository / "rerank_plugin")
    messages = quoted_messages(repository / "docs" / "troubleshooting.md")
    assert len(messages) >= 20
    assert [message for message in messages if not any(message.search(text) for text in texts)] == []
