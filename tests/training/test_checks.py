"""Checks before training: problems are counted and located, and either stop the run or are left out."""

from collections import Counter
from dataclasses import replace

import pytest
from conftest import write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.data.checks import (
    CONTRADICTION,
    DUPLICATE,
    EMPTY,
    LEAKED,
    RANGE,
    Lengths,
    check_pairs,
    describe,
    with_cut,
)
from rerank_plugin.training.data.pairs import LabelledPair

HELD_OUT = {"Where is  the Sea?": "dev"}
GOOD = LabelledPair("red fox", "a red fox", 1.0, source="f, line 1")
# A problem, pairs that have it, and how many of them are left out with `drop`.
PROBLEMS = [
    (EMPTY, [LabelledPair(" ", "text", 1.0)], 1),
    (EMPTY, [LabelledPair("query", "\n\t", 0.0)], 1),
    (RANGE, [LabelledPair("query", "text", -0.1)], 1),
    (RANGE, [LabelledPair("query", "text", 1.1)], 1),
    (RANGE, [LabelledPair("query", "text", float("nan"))], 1),
    (RANGE, [LabelledPair("query", "text", float("inf"))], 1),
    (LEAKED, [LabelledPair("where is the sea?", "text", 1.0)], 1),
    (DUPLICATE, [LabelledPair("query", "text", 1.0)] * 3, 2),
    (CONTRADICTION, [LabelledPair("query", "text", 1.0), LabelledPair("query", "text", 0.0)], 2),
]
STOPS = [(problem, pairs) for problem, pairs, _ in PROBLEMS if problem in (EMPTY, RANGE, LEAKED)]
REPORTED = [(problem, pairs) for problem, pairs, _ in PROBLEMS if problem in (DUPLICATE, CONTRADICTION)]


def at(pairs: list[LabelledPair]) -> list[LabelledPair]:
    """Give pairs a place, from line 2 on."""
    return [replace(pair, source=f"f, line {number}") for number, pair in enumerate(pairs, start=2)]


def test_good_pairs_are_kept_as_they_are():
    pairs = [GOOD, LabelledPair("sky", "the sky is blue", 0.5)]
    kept, report = check_pairs(pairs, held_out=HELD_OUT)
    assert kept == pairs
    assert (report.problems, report.places, report.dropped) == ({}, {}, {})


@pytest.mark.parametrize(("problem", "pairs"), STOPS)
def test_problems_that_would_spoil_training_stop_it(problem, pairs):
    with pytest.raises(InvalidValueError) as error:
        check_pairs([GOOD, *at(pairs)], held_out=HELD_OUT)
    assert f"1 x {problem} (f, line 2)" in str(error.value)
    assert "Fix them, or leave them out with --drop" in str(error.value)


@pytest.mark.parametrize(("problem", "pairs"), REPORTED)
def test_suspicious_pairs_are_only_reported(problem, pairs):
    kept, report = check_pairs([GOOD, *at(pairs)], held_out=HELD_OUT)
    assert kept == [GOOD, *at(pairs)]
    assert report.dropped == {}
    assert report.problems == {problem: 2}
    assert set(report.places[problem]) <= {pair.source for pair in kept}


@pytest.mark.parametrize(("problem", "pairs", "count"), PROBLEMS)
def test_pairs_with_problems_can_be_left_out(problem, pairs, count):
    kept, report = check_pairs([GOOD, *at(pairs)], held_out=HELD_OUT, drop=True)
    assert kept == [GOOD, *at(pairs)[: len(pairs) - count]]
    assert report.problems == report.dropped == {problem: count}
    assert report.statistics == describe(kept)


def test_all_problems_are_named_at_once_with_the_first_places():
    pairs = at([LabelledPair("", "p", 1.0)] * 5 + [LabelledPair("q", "p", 2.0)])
    with pytest.raises(InvalidValueError) as error:
        check_pairs(pairs)
    assert f"5 x {EMPTY} (f, line 2; f, line 3; f, line 4), 1 x {RANGE} (f, line 7)" in str(error.value)


def test_a_pair_without_a_place_is_shown_by_its_query():
    with pytest.raises(InvalidValueError, match=rf"\('{'long' * 10}'\)"):
        check_pairs([LabelledPair("long" * 20, "text", 3.0)])


def test_a_pair_counts_once_by_its_most_serious_problem():
    _, report = check_pairs([GOOD, *[LabelledPair("", "text", 7.0)] * 2], drop=True)
    assert report.problems == {EMPTY: 2}


def test_of_duplicates_the_first_is_kept():
    first, second = at([LabelledPair("q", "p", 1.0)] * 2)
    kept, _ = check_pairs([first, second], drop=True)
    assert [pair.source for pair in kept] == ["f, line 2"]


def test_the_same_passage_for_another_query_is_not_a_duplicate():
    pairs = [LabelledPair("q", "p", 1.0), LabelledPair("r", "p", 0.0), LabelledPair("q", "p.", 0.0)]
    assert check_pairs(pairs, drop=True)[0] == pairs


def test_a_label_that_is_left_out_contradicts_nothing():
    pairs = [GOOD, LabelledPair("q", "p", 1.0), LabelledPair("q", "p", 9.0)]
    kept, report = check_pairs(pairs, drop=True)
    assert (kept, report.problems) == (pairs[:2], {RANGE: 1})


@pytest.mark.parametrize("query", ["where is the sea?", "WHERE IS THE SEA?", "  Where\tis \n the   sea? "])
def test_leakage_is_found_whatever_the_case_and_the_spaces(query):
    with pytest.raises(InvalidValueError, match="query of the dev or test split"):
        check_pairs([GOOD, LabelledPair(query, "text", 1.0)], held_out=HELD_OUT)
    assert check_pairs([GOOD, LabelledPair(query, "text", 1.0)])[1].problems == {}


def test_leakage_folds_letters_of_every_alphabet():
    with pytest.raises(InvalidValueError, match="query of the dev or test split"):
        check_pairs([LabelledPair("ГДЕ МОРЕ STRASSE", "text", 1.0)], held_out={"где море straße": "test"})


def test_lists_may_have_labels_of_any_size():
    pairs = [LabelledPair("q", "p", -7.5), LabelledPair("q", "r", 12.0)]
    kept, report = check_pairs(pairs, bounded_labels=False)
    assert (kept, report.problems) == (pairs, {})
    assert report.statistics.mean_label == 2.25


@pytest.mark.parametrize("label", [float("nan"), float("inf"), float("-inf")])
def test_no_label_is_infinite_even_in_lists(label):
    with pytest.raises(InvalidValueError, match="1 x label"):
        check_pairs([GOOD, LabelledPair("q", "p", label)], bounded_labels=False)


@pytest.mark.parametrize("pairs", [[], [LabelledPair("", "text", 1.0)]])
def test_no_pair_left_is_an_error(pairs):
    with pytest.raises(InvalidValueError, match="no training pairs: check the files"):
        check_pairs(pairs, drop=True)


words = st.sampled_from(["", " ", "fox", "Fox", "sea", "sky"])
labels = st.sampled_from([0.0, 0.5, 1.0, -1.0, float("nan")])


@settings(deadline=None)
@given(st.lists(st.builds(LabelledPair, words, words, labels), max_size=12), st.booleans())
def test_after_dropping_there_are_no_problems_left(pairs, bounded):
    pairs = [GOOD, *pairs]
    held_out = {"SEA": "test"}
    kept, report = check_pairs(pairs, bounded_labels=bounded, held_out=held_out, drop=True)
    assert len(kept) + sum(report.dropped.values()) == len(pairs)
    again, clean = check_pairs(kept, bounded_labels=bounded, held_out=held_out)
    assert (again, clean.problems) == (kept, {})
    counts = Counter((pair.query, pair.passage) for pair in kept)
    assert set(counts.values()) == {1}
    assert not {"sea", "", " "} & {pair.query for pair in kept}


def test_the_statistics_are_those_of_a_card():
    statistics = describe(
        [
            LabelledPair("fox", "a fox", 1.0, 2.0),
            LabelledPair("fox", "a red fox.", 0.5, 0.0),
            LabelledPair("the sea", "blue", 0.25),
            LabelledPair("sky", "blue", 0.25),
        ]
    )
    assert (statistics.pairs, statistics.queries, statistics.mean_label, statistics.positives) == (4, 3, 0.5, 0.5)
    assert statistics.query == Lengths(3, 4.0, 7)
    assert statistics.passage == Lengths(4, 5.75, 10)
    assert (statistics.taught, statistics.cut) == (2, None)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_share_of_positives_is_a_number_also_where_all_are_alike(label):
    share = describe([LabelledPair("fox", "a fox", label)]).positives
    assert (share, type(share)) == (label, float)


def test_the_report_lists_problems_by_name():
    pairs = [replace(GOOD, teacher_score=0.0), *at([LabelledPair("sea", "blue", 0.0)] * 3)]
    lines = check_pairs(pairs, repaired=1200)[1].lines()
    assert lines == {
        "pairs": "4 of 2 queries, mean label 0.250, 25.0% positive",
        "query, characters": "3 to 7, mean 4.0",
        "passage, characters": "4 to 9, mean 5.2",
        "with a teacher's score": "1",
        "texts with repaired encoding": "1,200",
        DUPLICATE: "2 kept: f, line 3; f, line 4",
    }


def test_the_report_says_what_was_left_out():
    pairs = [GOOD, *at([LabelledPair("sea", "blue", 3.0)] * 4)]
    lines = check_pairs(pairs, drop=True)[1].lines()
    assert lines["pairs"] == "1 of 1 queries, mean label 1.000, 100.0% positive"
    assert lines[RANGE] == "4 left out: f, line 2; f, line 3; f, line 4"
    assert list(lines) == ["pairs", "query, characters", "passage, characters", RANGE]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """One piece for each word of the tests' vocabulary, and three special ones around a pair."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def cut(pairs: list[LabelledPair], tokenizer, max_length: int) -> float | None:
    return with_cut(check_pairs(pairs)[1], pairs, tokenizer, max_length).statistics.cut


def test_pairs_longer_than_the_input_length_are_counted(tokenizer):
    pairs = [LabelledPair("red fox", " ".join(["the"] * count), 1.0) for count in (3, 4, 5, 100)]
    assert [cut(pairs, tokenizer, length) for length in (7, 8, 9, 10, 200)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    report = check_pairs(pairs)[1]
    assert with_cut(report, pairs, tokenizer, 9).lines()["longer than the model reads"] == "50.0%"
    assert report.statistics.cut is None


def test_the_rest_of_the_report_stays(tokenizer):
    pairs = [GOOD, *at([LabelledPair("sea", "blue", 0.0)] * 2)]
    report = check_pairs(pairs, repaired=3)[1]
    assert with_cut(report, pairs, tokenizer, 64) == replace(report, statistics=replace(report.statistics, cut=0.0))


@pytest.mark.parametrize(
    "count",
    [3000, 1999],
)
def test_a_large_set_is_sampled_from_end_to_end(tokenizer, count):
    pairs = [LabelledPair("fox", f"the {'fox ' * (i * 4 // count)}{i}", 1.0) for i in range(count)]
    longest_quarter = len(tokenizer("fox", f"the fox fox fox {count - 1}")["input_ids"])
    shortest = len(tokenizer("fox", "the 0")["input_ids"])
    assert 0 < cut(pairs, tokenizer, longest_quarter - 1) < 0.5
    assert cut(pairs, tokenizer, shortest - 1) == 1.0
