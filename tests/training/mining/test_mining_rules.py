"""Mining rules: windows of ranks, and invalid rules are refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_helpers import windows

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.mining.rules import MiningRules, RankWindow


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 500), st.integers(0, 50))
def test_a_window_survives_a_round_trip_through_its_text(first, more, count):
    window = RankWindow(first, first + more, count)
    assert RankWindow.parse(str(window)) == window


def test_spaces_around_a_window_are_ignored():
    assert RankWindow.parse(" 11-60:1\n") == RankWindow(11, 60, 1)


@pytest.mark.parametrize(
    "text", ["", "10", "1-10", "1-10:", "1:2", "-1-10:2", "1-10:-2", "1 - 10:2", "1-10:2,11-60:1", "a-b:c"]
)
def test_an_invalid_window_is_an_error(text):
    with pytest.raises(InvalidValueError) as error:
        RankWindow.parse(text)
    assert str(error.value) == f"ranks {text!r}: must be FIRST-LAST:COUNT, such as 1-10:2"


@pytest.mark.parametrize("text", ["0-10:2", "11-10:2"])
def test_ranks_start_at_one_and_go_up(text):
    with pytest.raises(InvalidValueError, match=rf"ranks {text}: must be FIRST-LAST:COUNT with 1 <= FIRST <= LAST"):
        RankWindow.parse(text)


def test_usually_two_come_from_the_top_one_from_below_and_one_from_anywhere():
    rules = MiningRules()
    assert [str(window) for window in rules.windows] == ["1-10:2", "11-60:1"]
    assert (rules.random, rules.depth, rules.has_margin, rules.near_duplicates) == (1, 60, False, 0.8)


@pytest.mark.parametrize(("texts", "depth"), [((), 1), (("5-5:1",), 5), (("1-30:1", "10-20:2"), 30)])
def test_the_list_is_as_deep_as_the_deepest_window(texts, depth):
    assert MiningRules(windows=windows(*texts)).depth == depth


@pytest.mark.parametrize(
    ("margin", "value"), [("relative_margin", 0.05), ("absolute_margin", 0.0), ("absolute_margin", 2.5)]
)
def test_either_margin_is_a_margin(margin, value):
    assert MiningRules(**{margin: value}).has_margin


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"random": -1}, "random must be a whole number of at least 0, got -1"),
        ({"random": 0, "windows": ()}, "the rules ask for no negatives: give --ranks, such as 1-10:2, or --random"),
        ({"random": 0, "windows": (RankWindow(1, 10, 0),)}, "the rules ask for no negatives"),
        ({"relative_margin": 0.0}, "relative_margin must be above 0 and at most 1, got 0.0"),
        ({"relative_margin": 1.5}, "relative_margin must be above 0 and at most 1, got 1.5"),
        ({"relative_margin": float("nan")}, "relative_margin must be a finite number, got nan"),
        ({"absolute_margin": -0.1}, "absolute_margin must be a finite number of at least 0, got -0.1"),
        ({"near_duplicates": 0.0}, "near_duplicates must be above 0 and at most 1, got 0.0"),
        ({"near_duplicates": 2}, "near_duplicates must be above 0 and at most 1, got 2"),
    ],
)
def test_invalid_rules_are_errors(rules, message):
    with pytest.raises(InvalidValueError) as error:
        MiningRules(**rules)
    assert message in str(error.value)


def test_rules_are_kept_as_json():
    rules = MiningRules(windows=windows("1-5:3"), relative_margin=0.05, seed=7).as_dict()
    assert json.loads(json.dumps(rules)) == rules
    assert (rules["windows"], rules["relative_margin"], rules["seed"]) == (["1-5:3"], 0.05, 7)
