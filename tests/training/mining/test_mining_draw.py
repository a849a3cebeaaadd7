"""The negatives of one query: where they come from, and what is left out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_helpers import draw_from, windows

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.training.mining.draw import MiningCounts
from rerank_plugin.training.mining.rules import RankWindow

TEXTS = {f"d{i}": f"passage with the number {i}" for i in range(1, 41)}
# The first stage returns d1 to d20, in this order.
FOUND = [(f"d{rank}", float(100 - rank)) for rank in range(1, 21)]
LISTED = {id_ for id_, _ in FOUND}


def ids(negatives) -> list[str]:
    return [negative.id for negative in negatives]


@pytest.mark.parametrize("seed", range(5))
def test_each_window_gives_its_count_from_its_ranks(seed):
    negatives = draw_from(TEXTS, FOUND, relevant=["d30"], windows=windows("1-5:2", "11-20:3"), seed=seed)
    ranks = [negative.rank for negative in negatives]
    assert len(ranks) == 5
    assert all(1 <= rank <= 5 for rank in ranks[:2])
    assert all(11 <= rank <= 20 for rank in ranks[2:])
    assert ids(negatives) == [f"d{rank}" for rank in ranks]


def test_every_rank_of_a_window_can_be_sampled():
    drawn = {draw_from(TEXTS, FOUND, relevant=["d30"], windows=windows("4-9:1"), seed=seed)[0].rank for seed in range(100)}
    assert drawn == set(range(4, 10))


def test_the_relevant_keep_their_ranks_and_are_never_taken():
    negatives = draw_from(TEXTS, FOUND, relevant=["d2", "d3"], windows=windows("1-4:9"))
    assert sorted((negative.rank, negative.id) for negative in negatives) == [(1, "d1"), (4, "d4")]


def test_each_positive_gets_its_own_number():
    counts = MiningCounts()
    negatives = draw_from(TEXTS, FOUND, relevant=["d30", "d31", "d32"], windows=windows("1-20:2"), random=1, counts=counts)
    assert counts.negatives == {"ranks 1-20": 6, "random": 3}
    assert len(set(ids(negatives))) == 9


def test_windows_that_overlap_give_no_document_twice():
    negatives = draw_from(TEXTS, FOUND, relevant=["d30"], windows=windows("1-4:3", "1-5:9"))
    assert sorted(ids(negatives)) == ["d1", "d2", "d3", "d4", "d5"]


@pytest.mark.parametrize("seed", range(5))
def test_random_negatives_are_not_in_the_ranking(seed):
    negatives = draw_from(TEXTS, FOUND, relevant=["d30"], random=10, seed=seed)
    assert len(set(ids(negatives))) == 10
    assert not set(ids(negatives)) & (LISTED | {"d30"})
    assert {negative.rank for negative in negatives} == {None}


def test_a_ranking_that_is_too_short_is_counted():
    counts = MiningCounts()
    negatives = draw_from(TEXTS, FOUND[:3], relevant=["d30"], windows=windows("1-2:1", "3-60:5"), random=1, counts=counts)
    assert [negative.rank for negative in negatives if negative.rank][1:] == [3]
    assert (counts.short, counts.negatives) == (1, {"ranks 1-2": 1, "ranks 3-60": 1, "random": 1})
    draw_from(TEXTS, FOUND, relevant=["d30"], windows=windows("1-2:2"), random=1, counts=counts)
    assert counts.short == 1


def test_a_corpus_that_is_too_small_gives_what_there_is():
    counts = MiningCounts()
    assert draw_from({"d1": "only one"}, [], relevant=["d1"], random=3, counts=counts) == []
    assert (counts.short, counts.negatives["random"]) == (1, 0)


def test_empty_passages_and_missing_documents_are_never_taken():
    texts = TEXTS | {"d1": " \n"}
    negatives = draw_from(texts, [("deleted", 200.0), *FOUND], relevant=["d30"], windows=windows("1-4:4"))
    assert sorted(ids(negatives)) == ["d2", "d3"]
    assert draw_from({"d1": "one", "d2": ""}, [], relevant=["d1"], random=5) == []


def test_the_same_seed_and_query_sample_the_same_and_others_differ():
    rules = {"relevant": ["d30"], "windows": windows("1-20:5"), "random": 5}
    first = draw_from(TEXTS, FOUND, **rules)
    draw_from(TEXTS, FOUND, **rules, query=BeirQuery("between", "another query"))
    assert draw_from(TEXTS, FOUND, **rules) == first
    assert draw_from(TEXTS, FOUND, **rules, query=BeirQuery("q", "another wording")) == first
    assert draw_from(TEXTS, FOUND, **rules, query=BeirQuery("another id", "query")) != first
    assert draw_from(TEXTS, FOUND, **rules, seed=1) != first


@pytest.mark.parametrize(
    ("margin", "lowest_rank"),
    [({"relative_margin": 0.05}, 15), ({"absolute_margin": 7.0}, 17), ({"absolute_margin": 0.0}, 10)],
)
def test_what_scores_nearly_as_much_as_the_relevant_is_left_out(margin, lowest_rank):
    counts = MiningCounts()
    negatives = draw_from(TEXTS, FOUND, relevant=["d3", "d10"], windows=windows("1-20:20"), counts=counts, **margin)
    expected = [rank for rank in range(lowest_rank, 21) if rank != 10]
    assert sorted(negative.rank for negative in negatives) == expected
    assert counts.left_out == {"margin": 18 - len(expected)}
    assert counts.without_margin == 0


def test_a_relevant_passage_without_a_score_sets_no_limit():
    counts = MiningCounts()
    negatives = draw_from(TEXTS, FOUND, relevant=["d30"], windows=windows("1-20:20"), relative_margin=0.5, counts=counts)
    assert len(negatives) == 20
    assert (counts.without_margin, counts.left_out) == (1, {})


def test_without_a_margin_no_query_lacks_one():
    counts = MiningCounts()
    draw_from(TEXTS, FOUND, relevant=["d30"], windows=windows("1-20:2"), counts=counts)
    assert counts.without_margin == 0


def test_the_margin_applies_to_the_given_scores():
    scores = {"d30": 0.9, "d1": 0.1, "d2": 0.89, "d3": 0.2}
    negatives = draw_from(TEXTS, FOUND[:3], relevant=["d30"], windows=windows("1-3:3"), scores=scores, absolute_margin=0.5)
    assert sorted(ids(negatives)) == ["d1", "d3"]


def test_random_negatives_have_no_score_and_pass_the_margin():
    assert len(draw_from(TEXTS, FOUND, relevant=["d20"], random=5, absolute_margin=1.0)) == 5


CAPITALS = {
    "right": "The capital of France is Paris.",
    "also": "Paris has been the capital for long.",
    "near": "He compares the capitals of Europe.",
    "far": "Berlin lies on the Spree.",
}
PARIS = BeirQuery("q", "capital of france", {"answers": ["paris"]})


def test_passages_that_hold_an_answer_are_left_out_wherever_they_come_from():
    counts = MiningCounts()
    ranking = [("also", 3.0), ("near", 2.0)]
    ranked = draw_from(CAPITALS, ranking, relevant=["right"], query=PARIS, windows=windows("1-9:9"), counts=counts)
    anywhere = draw_from(CAPITALS, [], relevant=["right"], query=PARIS, random=9, counts=counts)
    assert (ids(ranked), sorted(ids(anywhere))) == (["near"], ["far", "near"])
    assert counts.left_out == {"answer": 2}


def test_the_answer_guard_can_be_switched_off():
    negatives = draw_from(
        CAPITALS, [("also", 3.0)], relevant=["right"], query=PARIS, windows=windows("1-9:9"), answers=False
    )
    assert ids(negatives) == ["also"]


COPIES = {
    "right": "the old library by the river keeps books and maps",
    "copy": "The old library, by the river, keeps books and maps!",
    "other": "the old mill by the sea keeps bread and tea",
}


@pytest.mark.parametrize(("share", "expected"), [(0.8, ["other"]), (None, ["copy", "other"]), (0.01, [])])
def test_near_duplicates_of_the_relevant_are_left_out(share, expected):
    counts = MiningCounts()
    texts = COPIES | {"other": COPIES["other"] + " by the river keeps"}
    ranking = [("copy", 2.0), ("other", 1.0)]
    negatives = draw_from(texts, ranking, relevant=["right"], windows=windows("1-9:9"), near_duplicates=share, counts=counts)
    assert sorted(ids(negatives)) == expected
    assert counts.left_out["near duplicate"] == 2 - len(expected)


def test_what_a_guard_left_out_makes_room_for_the_next():
    counts = MiningCounts()
    negatives = draw_from(TEXTS, FOUND, relevant=["d5"], windows=windows("1-10:5"), absolute_margin=1.0, counts=counts)
    assert sorted(negative.rank for negative in negatives) == [6, 7, 8, 9, 10]
    assert counts.short == 0


window = st.builds(
    lambda first, more, count: RankWindow(first, first + more, count),
    st.integers(1, 25),
    st.integers(0, 9),
    st.integers(0, 6),
)


@settings(deadline=None)
@given(
    st.lists(window, max_size=3).map(tuple),
    st.integers(1, 5),
    st.lists(st.sampled_from(sorted(TEXTS)), min_size=1, max_size=4, unique=True),
    st.integers(0, 3),
)
def test_no_rule_is_broken_whatever_they_are(chosen, random, relevant, seed):
    counts = MiningCounts()
    negatives = draw_from(TEXTS, FOUND, relevant=relevant, windows=chosen, random=random, seed=seed, counts=counts)
    assert len(set(ids(negatives))) == len(negatives)
    assert not set(ids(negatives)) & set(relevant)
    for negative in negatives:
        if negative.rank is None:
            assert negative.id not in LISTED
        else:
            assert FOUND[negative.rank - 1][0] == negative.id
            assert any(part.first <= negative.rank <= part.last for part in chosen)
    wanted = len(relevant) * (random + sum(part.count for part in chosen))
    assert counts.negatives.total() == len(negatives) <= wanted
    assert counts.short == (len(negatives) < wanted)
