"""Runs, judgements and measures of any kind: only errors of this package, and the values of ir-measures where it has one."""

from math import inf, nan

import ir_measures
import numpy as np
import pytest
from haystack import Document
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.errors import InvalidValueError, RerankError
from rerank_plugin.evaluation import compare, evaluate, read_qrels, read_run
from rerank_plugin.evaluation.measures import check_measures

WEIRD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), nan, inf, -inf, 1e300, -1e300, 5e-324]),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.complex_numbers(),
    st.just([]),
    st.just({}),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(Document, content=st.just("x"), score=st.sampled_from([None, nan, 1.0, "x", 10**400])),
)
IDS = st.one_of(
    st.sampled_from(["q1", "q2", "a", "b", "", "x y", "ä\u2028", "\x00", "\ud800"]), st.integers(0, 3), st.none()
)
SCORES = st.one_of(WEIRD, st.dictionaries(IDS, st.one_of(st.floats(), WEIRD), max_size=4), st.lists(WEIRD, max_size=3))
RUNS = st.one_of(WEIRD, st.dictionaries(IDS, SCORES, max_size=3))
QRELS = st.one_of(
    WEIRD,
    st.dictionaries(
        st.sampled_from(["q1", "q2", "q3"]),
        st.dictionaries(st.sampled_from("abc"), st.integers(-1, 3), min_size=1),
        min_size=1,
    ),
    st.dictionaries(IDS, st.one_of(WEIRD, st.dictionaries(IDS, WEIRD, max_size=4)), max_size=3),
)
MEASURES = st.sampled_from(["nDCG@10", "RR@3", "AP", "P@5", "R@100", "Judged@10", "nDCG", "P(rel=2)@5", "Bpref"])


def result_or_message(call):
    """Return the result of a call, or the message of an error of this package; other errors propagate."""
    try:
        return call(), None
    except RerankError as error:
        return None, str(error)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(RUNS, QRELS, st.lists(st.one_of(MEASURES, MEASURES, st.text(max_size=5), WEIRD), max_size=3))
def test_evaluate_raises_errors_of_this_package_only(run, qrels, measures):
    evaluation, message = result_or_message(lambda: evaluate(run, qrels, measures))
    assert message is None or (message.strip() and "\n" not in message)
    assert evaluation is None or all(
        0 <= value <= 1 for values in evaluation.per_query.values() for value in values.values()
    )


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.one_of(WEIRD, st.dictionaries(st.one_of(IDS, st.just("base")), RUNS, max_size=3)), QRELS, st.one_of(st.none(), IDS)
)
def test_compare_raises_errors_of_this_package_only(runs, qrels, baseline):
    _, message = result_or_message(lambda: compare(runs, qrels, ["nDCG@10"], baseline=baseline))
    assert message is None or "\n" not in message


LINES = st.one_of(
    st.sampled_from(
        ["q1 Q0 a 1 2.0 x", "q1\t0\ta\t1", "q1 0 a 1", "query-id\tcorpus-id\tscore", "q1 Q0 a 1 nan x", "q1 0 a 1.5"]
    ),
    st.text(max_size=20),
    st.lists(st.sampled_from(["q1", "Q0", "a", "0", "inf", "1e999", "9" * 400, "-", "\u2028", "\x00"]), max_size=8).map(
        " ".join
    ),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60), st.lists(LINES, max_size=4).map(lambda lines: "\n".join(lines).encode(errors="replace"))
    )
)
def test_files_of_any_content_are_read_or_named(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("input") / "file"
    file.write_bytes(content)
    for read in (read_run, read_qrels):
        result, message = result_or_message(lambda read=read: read(file))
        assert result or str(file) in message


@pytest.mark.parametrize(
    "measure",
    [
        *("nDCG@0", "P@0", "R@0", "Success@0", "RR@0", "P@-1", "P@99999999999999999999", "AP@1e3", "nDCG@10.5"),
        *("P(rel='x')@5", "P(rel=0)@5", "AP(rel=0)", "RR(foo=1)", "P(rel=None)@5", "P(rel=1.5)@5", "ERR@20", "RBP"),
        *(
            "IPrec@2",
            "SetF(beta=0)",
            "__import__('os')",
            "(" * 3000,
            "a" * 5000,
            "",
            "\x00",
            "P(rel=99999999999999999999)@3",
        ),
    ],
)
def test_a_measure_that_crashes_trec_eval_is_refused(measure):
    """A cutoff of 0 makes trec_eval end the whole process."""
    with pytest.raises(InvalidValueError) as error:
        check_measures([measure])
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("run", "qrels", "message"),
    [
        ({"q": {"a": 10**400}}, {"q": {"a": 1}}, "the score of document 'a' must be a number that a float can hold"),
        ({"q": {"a": True}}, {"q": {"a": 1}}, "must be a number"),
        ({"q": {"a": "1"}}, {"q": {"a": 1}}, "must be a number"),
        ({1: {"a": 1.0}}, {"q": {"a": 1}}, "ids must be strings, got 1"),
        ({"q": {1: 1.0}}, {"q": {"a": 1}}, "run of query 'q': ids must be strings, got 1"),
        ({"q": "a b"}, {"q": {"a": 1}}, "an answer must be scores by document id"),
        ({"q": {"a": 1.0}}, {"q": {"a": 1.5}}, "the grade of document 'a' must be a whole number"),
        ({"q": {"a": 1.0}}, {"q": {"a": 10**30}}, "the grade of document 'a' must be a whole number"),
        ({"q": {"a": 1.0}}, {"q": ["a"]}, "qrels of query 'q' must be a mapping"),
        ({"q": {"a\x00": 1.0}}, {"q": {"a": 1}}, "holds a character that is not text"),
        ([], {"q": {"a": 1}}, "a run must be a mapping"),
    ],
)
def test_a_mistake_is_named(run, qrels, message):
    with pytest.raises(InvalidValueError, match=message):
        evaluate(run, qrels)


def test_infinite_and_huge_scores_are_ordered():
    run = {"q": {"a": inf, "b": 1.0, "c": -inf, "d": 1e300}}
    assert evaluate(run, {"q": {"b": 1}}, ["RR"]).means == {"RR": pytest.approx(1 / 3)}
    assert evaluate(run, {"q": {"c": 1}}, ["RR"]).means == {"RR": 0.25}


DISTINCT = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-100, 100).map(float), min_size=1, max_size=8).filter(
    lambda scores: len(set(scores.values())) == len(scores)
)
NAMES = [
    "nDCG@10",
    "RR",
    "RR@2",
    "RR(rel=2)@3",
    "AP",
    "AP(rel=2)",
    "P@3",
    "P(rel=2)@3",
    "R@2",
    "Success@1",
    "Rprec",
    "Bpref",
    "Judged@3",
    "SetP",
]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), DISTINCT, min_size=1),
    st.dictionaries(
        st.sampled_from(["q1", "q2", "q3"]),
        st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1),
        min_size=1,
    ).map(lambda qrels: {query: {**grades, "h": 1} for query, grades in qrels.items()}),
)
def test_values_are_those_of_ir_measures(run, qrels):
    ours = evaluate(run, qrels, NAMES)
    theirs = ir_measures.calc_aggregate([ir_measures.parse_measure(name) for name in NAMES], qrels, run)
    for measure, value in theirs.items():
        assert ours.means[str(measure)] == pytest.approx(value, abs=1e-6), measure
