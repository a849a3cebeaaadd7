"""Guards: answers, near duplicates (against a plain oracle of the Jaccard) and margins."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.training.mining.guards import (
    answers_of,
    contains_answer,
    cross_encoder_probabilities,
    is_near_duplicate,
    margin_limit,
)
from rerank_plugin.training.mining.rules import MiningRules


@pytest.mark.parametrize(
    ("metadata", "answers"),
    [
        ({"answers": ["Paris", "the city of light"]}, ["Paris", "the city of light"]),
        ({"answers": "Paris"}, ["Paris"]),
        ({"answer": "Paris"}, ["Paris"]),
        ({"answer": ["Paris", "Lutetia"]}, ["Paris", "Lutetia"]),
        ({"answers": ["Paris"], "answer": "Rome"}, ["Paris"]),
        ({"answers": ["", " ", "?!", None, 5, "Paris"]}, ["Paris"]),
        ({"answers": []}, []),
        ({"answers": {"text": "Paris"}}, []),
        ({}, []),
    ],
)
def test_answers_are_read_from_the_metadata_of_a_query(metadata, answers):
    assert answers_of(BeirQuery("q", "capital of france", metadata)) == answers


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is Paris.", "paris"),
        ("it is paris", "PARIS"),
        ("Paris", "Paris"),
        ("The city (of light), they say", "city of light"),
        ("Столица — Париж!", "париж"),
        ("in 1789", "1789"),
        ("a  new\nline", "new line"),
    ],
)
def test_an_answer_is_found_whatever_the_case_and_the_marks_between(text, answer):
    assert contains_answer(text, ["no such thing", answer])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a comparison", "paris"),
        ("parisian", "paris"),
        ("in 17890", "1789"),
        ("light of the city", "city of light"),
        ("city and light", "city light"),
        ("", "paris"),
    ],
)
def test_an_answer_is_whole_words_in_their_order_side_by_side(text, answer):
    assert not contains_answer(text, [answer])


def test_without_answers_no_text_contains_one():
    assert not contains_answer("anything", [])


def trigrams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 3]) for i in range(len(words) - 2)} or {" ".join(words)}


def jaccard(one: str, other: str) -> Fraction:
    first, second = trigrams(one), trigrams(other)
    return Fraction(len(first & second), len(first | second))


texts = st.lists(st.sampled_from(["red", "Red", "fox", "sea,", "sky."]), max_size=8).map(" ".join)
# Shares that are exact in floating point, so that rounding does not matter.
shares = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(texts, st.lists(texts, max_size=3), shares)
def test_a_near_duplicate_is_one_by_the_jaccard_of_word_trigrams(text, others, share):
    expected = any(jaccard(text, other) >= Fraction(share) for other in others)
    assert is_near_duplicate(text, others, share) == expected


@settings(deadline=None)
@given(texts, shares)
def test_every_text_is_a_near_duplicate_of_itself(text, share):
    assert is_near_duplicate(text, ["another text of its own", text], share)


def test_one_different_word_of_many_is_a_near_duplicate():
    text = "the old library by the river keeps books and maps of the whole north and lends them for a year"
    assert is_near_duplicate(text, [f"{text} again"], 0.8)
    assert not is_near_duplicate(text, [text.replace("library", "mill").replace("maps", "cats")], 0.8)


SCORES = {"best": 20.0, "low": 10.0, "other": 9.8}


@pytest.mark.parametrize(
    ("margins", "relevant", "limit"),
    [
        ({"relative_margin": 0.05}, ["best"], 19.0),
        ({"relative_margin": 0.05}, ["best", "low"], 9.5),
        ({"absolute_margin": 3.0}, ["low", "best"], 7.0),
        ({"absolute_margin": 0.0}, ["best"], 20.0),
        ({"relative_margin": 0.5, "absolute_margin": 3.0}, ["best"], 10.0),
        ({"relative_margin": 0.05, "absolute_margin": 3.0}, ["best"], 17.0),
        ({"relative_margin": 1.0}, ["best"], 0.0),
        ({"relative_margin": 0.05}, ["best", "not found"], 19.0),
        ({"relative_margin": 0.05}, ["not found"], None),
        ({"absolute_margin": 3.0}, [], None),
        ({}, ["best"], None),
    ],
)
def test_the_limit_lies_a_margin_below_the_lowest_relevant_passage(margins, relevant, limit):
    assert margin_limit(MiningRules(**margins), SCORES, relevant) == (None if limit is None else pytest.approx(limit))


def test_below_zero_the_limit_lies_lower_too():
    assert margin_limit(MiningRules(relative_margin=0.1), {"d": -10.0}, ["d"]) == pytest.approx(-11.0)


@pytest.mark.slow
def test_a_cross_encoder_guards_with_probabilities(cross_encoder):
    score = cross_encoder_probabilities(str(cross_encoder))
    passages = ["a red fox", "the sky is blue", "where are the books"]
    values = score("red fox", passages)
    assert len(set(values)) == 3
    assert all(0 < value < 1 for value in values)
    assert score("red fox", passages[::-1]) == pytest.approx(values[::-1], abs=1e-4)
