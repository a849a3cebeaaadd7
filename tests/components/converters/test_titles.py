"""Titles come from parsers; no text makes reading it slow (T3)."""

from contextlib import suppress

import pytest

from rerank_plugin.components.converters import html, markdown, rst
from rerank_plugin.components.converters.encoding import decode
from rerank_plugin.errors import InputFileError


def markdown_title(data: bytes) -> str:
    return markdown.read(decode(data).text.encode()).title


def html_title(data: bytes) -> str:
    return html.read(data).title


def rst_title(data: bytes) -> str:
    return rst.read(data).title


MARKDOWN_TITLES = [
    ("# The guide\n\nText.", "The guide"),
    ("Some text first.\n\n# The guide #\n", "The guide"),
    ("The guide\n=========\n", "The guide"),
    ("# The *very* `best` [guide](there)\n", "The very best guide"),
    ("\ufeff# The guide\n", "The guide"),
    ("#\n\ntext that is no title", ""),
    ("```\n# a comment in a script\n```\n\nText.", ""),
    ("    # indented code\n", ""),
    ("```sh\n# a comment\n```\n\n# The guide\n", "The guide"),
    ("<!--\n# hidden\n-->\n\n# The guide\n", "The guide"),
    ("> # quoted\n\n# The guide\n", "The guide"),
    ("## Only a section\n", ""),
    ("#\n\n# The guide", "The guide"),
    ("", ""),
]
HTML_TITLES = [
    ("<html><head><title>The\n  page</title></head><body>x</body></html>", "The page"),
    ("<TITLE lang='en'>Tea &amp; coffee</TITLE><p>x", "Tea & coffee"),
    ("<html><head><!-- <title>old</title> --><title>new</title></head></html>", "new"),
    ("<html><body><svg><title>a picture</title></svg></body></html>", ""),
    ("<html><head><title></title></head><body>x</body></html>", ""),
    ("<title>Чай</title>", "Чай"),
    ("no markup at all", ""),
    ("", ""),
]


@pytest.mark.parametrize(
    ("find_title", "text", "title"),
    [(markdown_title, *case) for case in MARKDOWN_TITLES] + [(html_title, *case) for case in HTML_TITLES],
)
def test_t3_the_title_is_the_first_top_level_heading_or_the_title_element(find_title, text, title):
    assert find_title(text.encode("utf-8")) == title


def test_a_page_in_another_encoding_has_its_title():
    page = '<html><head><meta charset="windows-1251"><title>Чайник</title></head></html>'
    assert html_title(page.encode("cp1251")) == "Чайник"


def test_a_cut_inside_a_character_does_not_change_the_encoding():
    page = f"<title>Чай</title><p>{'я' * 200_000}".encode()
    assert html_title(page) == html_title(b"<!doctype html>" + page) == html_title(b"<!doctype html >" + page) == "Чай"


@pytest.mark.parametrize(
    ("find_title", "head"),
    [
        (markdown_title, "# " + " " * 200_000 + "x"),
        (markdown_title, "# x" + " #" * 100_000 + "y"),
        (markdown_title, "[" * 100_000),
        (markdown_title, ">" * 100_000),
        (markdown_title, "# " + "*a " * 50_000),
        (markdown_title, "- " * 50_000),
        (rst_title, "Title\n=====\n\n" + "`x " * 350_000),
        (rst_title, "``x " * 250_000),
        (rst_title, "x_ " * 350_000),
        (html_title, "<title>" * 40_000),
        (html_title, "<title" * 40_000),
        (html_title, "<title>" + "<" * 200_000),
        (html_title, "<div>" * 50_000 + "<title>deep</title>"),
    ],
)
def test_t3_no_text_makes_reading_it_slow(find_title, head):
    """The former regular expressions, and docutils, took minutes to years for these inputs."""
    with suppress(InputFileError):  # nested too deeply
        assert isinstance(find_title(head.encode()), str)
