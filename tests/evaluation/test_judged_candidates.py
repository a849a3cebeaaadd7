"""The data of a calibration: candidates of both stages, including several of one document."""

import numpy as np
import pytest

from rerank_plugin.evaluation.calibrate import calibrate, ndcg
from rerank_plugin.evaluation.candidates import ScoredCandidates
from rerank_plugin.evaluation.judged_candidates import JudgedCandidates


def query(number, documents, logits, judgements):
    count = len(documents)
    table = ScoredCandidates(
        documents, np.linspace(2.0, 1.0, count), np.array(logits, dtype=np.float32), np.arange(count, dtype=np.int64)
    )
    return JudgedCandidates(f"q{number}", table, judgements)


def test_l12_of_several_passages_of_a_document_the_best_counts():
    """Not the last one ranked."""
    judged = [query(0, ["a", "b", "a", "c"], [3.0, 2.0, -1.0, 1.0], {"a": 1})]
    assert ndcg(judged, lambda q: q.scored.ranking(4)) == pytest.approx(1.0)
    assert ndcg(judged, lambda q: q.scored.ranking(1)) == pytest.approx(1.0)


def test_a_report_has_its_figures_typed_and_by_name():
    rng = np.random.default_rng(0)
    judged = []
    for number in range(20):
        relevant = int(rng.integers(0, 12))
        logits = rng.normal(size=12)
        logits[relevant] += 2.0
        judged.append(query(number, [f"d{i}" for i in range(12)], logits, {f"d{relevant}": 1}))
    report = calibrate(judged, method="platt", source={})
    assert (report.queries, report.pairs, report.relevant) == (20, 240, 20)
    assert report.second_stage > report.first_stage
    assert set(report.fusions) == {"rrf", "linear", "log_linear"}
    assert max(report.fusions.values()) >= report.second_stage - 1e-9
    lines = report.lines()
    assert lines["queries"] == 20
    assert lines["calibration error after"] == round(report.errors[1], 4)
