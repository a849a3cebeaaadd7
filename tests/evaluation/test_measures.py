"""Measures against pytrec_eval, and cases that it leaves open: no hits, no relevant documents, negative grades."""

import pytest
import pytrec_eval
from haystack import Document
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation import evaluate

# Few scores and few documents, so that ties are frequent; also scores that differ only beyond single precision.
SCORES = st.sampled_from([0.0, 1.0, 1.0 + 1e-9, 2.0, -3.5, 0.1, 0.1 + 1e-12, 1e30]) | st.floats(-5, 5)
DOCUMENTS = st.sampled_from([f"d{i}" for i in range(30)])
RUNS = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(DOCUMENTS, SCORES, max_size=30), min_size=1)
QRELS = st.fixed_dictionaries(
    {query: st.dictionaries(DOCUMENTS, st.integers(-2, 3), min_size=1, max_size=12) for query in ("q1", "q2", "q3")}
)
NAMES = {"nDCG@10": "ndcg_cut_10", "RR": "recip_rank", "AP": "map", "P@10": "P_10", "R@100": "recall_100", "nDCG": "ndcg"}
WANTED = {"ndcg_cut.10", "recip_rank", "map", "P.10", "recall.100", "ndcg"}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(RUNS, QRELS)
def test_values_are_those_of_pytrec_eval(run, qrels):
    qrels["q0"] = {"d1": 1}  # so that something can always be measured
    evaluation = evaluate(run, qrels, [*NAMES, "RR@3"])
    grades = {query: {id_: max(grade, 0) for id_, grade in judged.items()} for query, judged in qrels.items()}
    # pytrec_eval ignores an empty ranking.
    expected = pytrec_eval.RelevanceEvaluator(grades, WANTED).evaluate({q: scores for q, scores in run.items() if scores})
    counted = {query for query, judged in qrels.items() if max(judged.values()) > 0}
    assert set(evaluation.without_relevant) == set(qrels) - counted
    for ours, theirs in NAMES.items():
        assert set(evaluation.per_query[ours]) == counted
        for query, value in evaluation.per_query[ours].items():
            assert value == pytest.approx(expected.get(query, {}).get(theirs, 0.0), abs=1e-6)
    for query, value in evaluation.per_query["RR"].items():
        assert evaluation.per_query["RR@3"][query] == (value if value > 1 / 3.5 else 0.0)


def test_values_computed_by_hand():
    run = {"q1": {"a": 3.0, "b": 2.0, "c": 1.0}, "q2": {"b": 1.0}}
    qrels = {"q1": {"b": 2, "c": 1}, "q2": {"a": 1}}
    evaluation = evaluate(run, qrels)
    # DCG = 2/log2(3) + 1/log2(4); the ideal is 2/log2(2) + 1/log2(3).
    assert evaluation.per_query["nDCG@10"]["q1"] == pytest.approx((2 / 1.58496 + 1 / 2) / (2 + 1 / 1.58496), abs=1e-4)
    assert evaluation.per_query["RR@10"] == {"q1": 0.5, "q2": 0.0}
    assert evaluation.per_query["Judged@10"]["q1"] == pytest.approx(2 / 3)
    assert evaluation.means["RR@10"] == 0.25


def test_a_query_without_hits_counts_zero_and_is_named():
    evaluation = evaluate({"q1": {"a": 1.0}, "q2": {}}, {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"b": 1}})
    assert evaluation.per_query["nDCG@10"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0}
    assert evaluation.without_hits == ("q2", "q3")
    assert evaluation.means["nDCG@10"] == pytest.approx(1 / 3)


def test_queries_without_relevant_documents_are_left_out_and_named():
    evaluation = evaluate({"q1": {"a": 1.0}, "q9": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 0}, "q3": {"a": -1}})
    assert evaluation.queries == ["q1"]
    assert evaluation.without_relevant == ("q2", "q3")
    assert evaluation.unjudged == 1
    with pytest.raises(InvalidValueError, match="none of 2 judged queries"):
        evaluate({}, {"q2": {"a": 0}, "q3": {"a": -1}})


def test_grades_below_zero_are_judged_and_not_relevant():
    evaluation = evaluate({"q": {"a": 3.0, "b": 2.0}}, {"q": {"a": -1, "b": 1, "c": -2}}, ["nDCG@10", "RR", "Judged@2"])
    assert evaluation.per_query["RR"]["q"] == 0.5
    assert evaluation.per_query["nDCG@10"]["q"] == pytest.approx(1 / 1.58496, abs=1e-4)
    assert evaluation.per_query["Judged@2"]["q"] == 1.0


def test_every_measure_breaks_ties_alike():
    """By id, descending, as `trec_eval` does; RR@10 and Judged come from other tools, which differ."""
    evaluation = evaluate({"q": {"a": 1.0, "b": 1.0}}, {"q": {"a": 1}}, ["RR", "RR@10", "nDCG@1", "Judged@1"])
    assert [values["q"] for values in evaluation.per_query.values()] == [0.5, 0.5, 0.0, 0.0]


def test_results_of_components_are_evaluated_by_their_order():
    documents = [Document(id=name, content=name, score=score) for name, score in (("a", 0.5), ("b", 0.5), ("c", None))]
    assert evaluate({"q": documents}, {"q": {"a": 1}}, ["RR"]).means == {"RR": 1.0}
    assert evaluate({"q": documents}, {"q": {"c": 1}}, ["RR"]).means == {"RR": pytest.approx(1 / 3)}
    passages = [Document(content=text, meta={"doc_id": id_}) for text, id_ in (("1", "x"), ("2", "x"), ("3", "y"))]
    assert evaluate({"q": passages}, {"q": {"y": 1}}, ["RR"]).means == {"RR": 0.5}


@pytest.mark.parametrize(
    ("measures", "message"),
    [(["nDGC@10"], "unknown measure 'nDGC@10'"), (["nDCG@ten"], "nDCG@ten"), ([], "at least one measure")],
)
def test_an_unknown_measure_is_an_error(measures, message):
    with pytest.raises(InvalidValueError, match=message):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, measures)


@pytest.mark.parametrize("score", [float("nan"), None, "high"])
def test_a_score_that_is_no_number_is_named(score):
    with pytest.raises(InvalidValueError, match=r"query 'q7': the score of document 'b' must be a number, got"):
        evaluate({"q7": {"a": 1.0, "b": score}}, {"q7": {"a": 1}})
