import pytest

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation import compare, evaluate
from rerank_plugin.evaluation.comparison import compare_evaluations

QRELS = {f"q{i}": {"a": 1} for i in range(20)}
GOOD = {query: {"a": 2.0, "b": 1.0} for query in QRELS}
POOR = {query: {"a": 1.0, "b": 2.0} for query in QRELS}
MIXED = {query: (GOOD if number % 2 else POOR)[query] for number, query in enumerate(QRELS)}


def test_wins_ties_losses_and_gain():
    comparison = compare({"poor": POOR, "good": GOOD, "mixed": MIXED}, QRELS, ["RR"])
    good, mixed = comparison.between("poor", "good", "RR"), comparison.between("poor", "mixed", "RR")
    assert (good.wins, good.ties, good.losses, good.mean) == (20, 0, 0, 0.5)
    assert (mixed.wins, mixed.ties, mixed.losses, mixed.mean) == (10, 10, 0, 0.25)
    assert good.interval == (0.5, 0.5)
    assert mixed.interval[0] < 0.25 < mixed.interval[1]
    assert good.is_significant
    assert good.p <= good.p_corrected
    assert comparison.evaluations["good"].means == {"RR": 1.0}


def test_the_baseline_can_be_chosen():
    comparison = compare({"poor": POOR, "good": GOOD}, QRELS, ["RR"], baseline="good")
    difference = comparison.between("good", "poor", "RR")
    assert (difference.mean, difference.losses) == (-0.5, 20)
    with pytest.raises(InvalidValueError, match="'good' was not compared with 'poor'"):
        comparison.between("poor", "good", "RR")


def test_a_query_that_one_system_lacks_counts_zero_for_it():
    comparison = compare({"good": GOOD, "half": {q: v for q, v in GOOD.items() if q < "q15"}}, QRELS, ["RR"])
    lost = sum(query >= "q15" for query in QRELS)
    assert comparison.between("good", "half", "RR").losses == lost


def test_correction_is_within_each_measure():
    evaluations = {name: evaluate(run, QRELS, ["RR", "AP"]) for name, run in (("a", POOR), ("b", GOOD), ("c", MIXED))}
    comparison = compare_evaluations(evaluations, [("a", "b"), ("a", "c"), ("b", "c")])
    assert len(comparison.differences) == 6
    best = comparison.between("a", "b", "RR")
    assert best.p_corrected == pytest.approx(3 * best.p)


@pytest.mark.parametrize(
    ("runs", "baseline", "message"), [({}, None, "no runs"), ({"a": GOOD}, "b", "unknown baseline 'b'")]
)
def test_nothing_to_compare_is_an_error(runs, baseline, message):
    with pytest.raises(InvalidValueError, match=message):
        compare(runs, QRELS, baseline=baseline)
