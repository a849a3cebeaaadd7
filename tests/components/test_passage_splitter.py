"""Passages end where blocks end; nothing is lost; code and tables are divided at lines only."""

import random
import re

import pytest
from haystack import Document
from haystack.core.serialization import component_from_dict, component_to_dict

from rerank_plugin.components.passage_splitter import PassageSplitter
from rerank_plugin.errors import InvalidValueError


def split(content, length=10, **meta):
    return PassageSplitter(split_length=length).run([Document(content=content, meta=meta)])["documents"]


def texts(content, length=10, **meta):
    return [passage.content for passage in split(content, length, **meta)]


def test_paragraphs_stay_whole_where_they_fit():
    assert texts("one two three four\n\nfive six seven eight\n\nnine ten eleven") == [
        "one two three four\n\nfive six seven eight",
        "nine ten eleven",
    ]


def test_code_stays_whole_where_it_fits():
    code = "```py\na = 1\n\nb = 2\n```"
    assert texts(f"one two three four five\n\n{code}\n\nsix") == ["one two three four five", f"{code}\n\nsix"]


def test_code_that_does_not_fit_is_divided_at_lines_in_fences():
    code = "```py\n" + "\n".join(f"x{i} = {i}" for i in range(5)) + "\n```"
    assert texts(code) == ["```py\nx0 = 0\nx1 = 1\n```", "```py\nx2 = 2\nx3 = 3\n```", "```py\nx4 = 4\n```"]


def test_the_header_of_a_table_is_repeated():
    table = "| a |\n| --- |\n" + "\n".join(f"| {i} |" for i in range(4))
    assert texts(table, length=4) == ["| a |\n| --- |\n| 0 |\n| 1 |", "| a |\n| --- |\n| 2 |\n| 3 |"]


def test_a_long_paragraph_is_divided_at_ends_of_sentences_else_at_lines_else_at_words():
    assert texts("One two three four. Five six seven\neight nine. Ten eleven twelve.") == [
        "One two three four. Five six seven\neight nine.",
        "Ten eleven twelve.",
    ]
    assert texts("a b c d e f\ng h i j k l") == ["a b c d e f", "g h i j k l"]
    assert texts(" ".join("abcdefghijkl")) == ["a b c d e f g h i j", "k l"]


def test_a_text_without_spaces_is_divided_and_whole_again():
    text = "あ" * 1234
    assert "".join(texts(text)) == text
    assert max(map(len, texts(text))) == 100


def test_every_passage_of_a_section_begins_with_its_heading():
    content = "From source\n\none two three four five\n\nsix seven eight nine ten"
    assert texts(content, section="Install > From source") == [
        "From source\n\none two three four five",
        "From source\n\nsix seven eight nine ten",
    ]
    documents = [Document(content=content, meta={"section": "From source"})]
    passages = PassageSplitter(split_length=10, repeat_heading=False).run(documents)["documents"]
    assert [passage.content for passage in passages][1] == "six seven eight nine ten"


def test_a_heading_alone_is_a_passage_and_a_long_one_is_text():
    assert texts("Heading", section="Heading") == ["Heading"]
    assert " ".join(texts("a b c d e f g h i j k l\n\nm", section="a b c d e f g h i j k l")).split() == list(
        "abcdefghijklm"
    )


def test_form_feeds_count_pages():
    content = "one two three four five six\n\n\fseven eight nine\n\n\f\ften eleven twelve thirteen"
    assert [(p.content, p.meta["page"]) for p in split(content, page=5)] == [
        ("one two three four five six\n\nseven eight nine", 5),
        ("ten eleven twelve thirteen", 8),
    ]
    assert "page" not in split("one\ftwo")[0].meta


def test_passages_are_numbered_by_file_and_keep_its_meta():
    documents = [Document(content="a", meta={"source": "x", "lang": "en"}), Document(content="a", meta={"source": "x"})]
    passages = PassageSplitter().run([*documents, Document(content="b", meta={"source": "y"})])["documents"]
    assert [(p.meta["source"], p.meta["split_id"]) for p in passages] == [("x", 0), ("x", 1), ("y", 0)]
    assert passages[0].meta["lang"] == "en"
    assert passages[0].meta["source_id"] == documents[0].id
    assert len({passage.id for passage in passages}) == 3


@pytest.mark.parametrize("content", ["", None, "\n\n", "\f"])
def test_no_text_is_no_passage(content):
    assert split(content) == []


@pytest.mark.parametrize("seed", range(30))
def test_no_word_is_lost_and_no_passage_is_too_long(seed):
    rng = random.Random(seed)
    marks = ["\n", "\n\n", ". ", "```\n", "\n```\n", "| a | b |\n", "| - | - |\n", "~~~", "x" * 130, "\f", "- ", "    "]
    content = " ".join(rng.choice(marks) if rng.random() < 0.6 else f"w{i}" for i in range(400))
    found = texts(content, length=20)
    words = re.findall(r"w\d+", content)
    assert list(dict.fromkeys(re.findall(r"w\d+", " ".join(found)))) == words
    assert "".join(found).count("x") >= content.count("x")
    assert max(len(text.replace("|", " ").split()) for text in found) <= 24


@pytest.mark.parametrize("arguments", [{"split_length": 0}, {"split_length": "5"}, {"repeat_heading": 1}])
def test_wrong_parameters_are_refused(arguments):
    with pytest.raises(InvalidValueError):
        PassageSplitter(**arguments)


def test_what_is_no_document_is_refused():
    with pytest.raises(InvalidValueError, match="must be a list of Documents"):
        PassageSplitter().run(["text"])


def test_the_component_survives_serialization():
    data = component_to_dict(PassageSplitter(split_length=7, repeat_heading=False), "splitter")
    again = component_from_dict(PassageSplitter, data, "splitter")
    assert (again.split_length, again.repeat_heading) == (7, False)
