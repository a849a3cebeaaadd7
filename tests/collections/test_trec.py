"""Run and judgement files: pytrec_eval and this package read the written files, and errors name the line."""

import pytest
import pytrec_eval
from haystack import Document

from rerank_plugin.collections.trec import write_qrels
from rerank_plugin.errors import InputFileError
from rerank_plugin.evaluation import evaluate, read_qrels, read_run, write_run


def test_a_run_comes_back_as_it_was_written(tmp_path):
    run = {"q1": {"d1": 0.25, "d2": 3.0, "d/3": -1e-9}, "q2": {"d1": 1.0}}
    write_run(str(tmp_path / "a.run"), run, tag="system")
    lines = (tmp_path / "a.run").read_text().splitlines()
    assert lines[0] == "q1 Q0 d2 1 3.0 system"
    assert read_run(tmp_path / "a.run") == read_run(str(tmp_path / "a.run")) == run
    with (tmp_path / "a.run").open() as file:
        assert pytrec_eval.parse_run(file) == run


def test_equal_scores_of_a_ranking_do_not_change_its_order_in_other_tools(tmp_path):
    """A probability that saturates, and documents that the deadline left without a score."""
    scores = [1.0, 1.0, 1.0, 0.5, None, None]
    documents = [Document(id=f"d{i}", content="", score=score) for i, score in enumerate(scores)]
    write_run(tmp_path / "a.run", {"q": documents}, tag="system")
    qrels = {"q": {"d5": 1}}
    with (tmp_path / "a.run").open() as file:
        theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(pytrec_eval.parse_run(file))
    assert theirs["q"]["recip_rank"] == pytest.approx(1 / 6)
    assert evaluate(read_run(tmp_path / "a.run"), qrels, ["RR"]).means["RR"] == pytest.approx(1 / 6)


def test_judgements_come_back_and_both_formats_are_read(tmp_path):
    qrels = {"q1": {"d1": 2, "d2": -1}, "q2": {"d1": 0}}
    write_qrels(tmp_path / "q.txt", qrels)
    assert read_qrels(tmp_path / "q.txt") == read_qrels(str(tmp_path / "q.txt")) == qrels
    with (tmp_path / "q.txt").open() as file:
        assert pytrec_eval.parse_qrel(file) == qrels
    (tmp_path / "b.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td 1\t2\n")
    assert read_qrels(tmp_path / "b.tsv") == {"q1": {"d 1": 2}}


def test_a_query_whose_lines_do_not_stand_together_is_one(tmp_path):
    (tmp_path / "a.run").write_text("q1 Q0 d1 1 2 x\nq2 Q0 d1 1 2 x\nq1 Q0 d2 2 1 x\n")
    assert read_run(tmp_path / "a.run") == {"q1": {"d1": 2.0, "d2": 1.0}, "q2": {"d1": 2.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 Q0 d1 1 2 x\nq1 Q0 d2 2\n", r"a\.run, line 2: expected query, Q0"),
        ("q1 Q0 d1 1 high x\n", r"a\.run, line 1: expected query, Q0"),
        ("q1 Q0 d1 1 nan x\n", r"a\.run, line 1: expected query, Q0"),
        ("q1 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x\n", r"a\.run, line 2: document 'd1' occurs twice for query 'q1'"),
        ("q1 Q0 d1 1 2 x\nq2 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x\n", r"a\.run, line 3: document 'd1' occurs twice for query 'q1'"),
        ("\n", "contains no run"),
    ],
)
def test_a_bad_run_is_named_by_file_and_line(tmp_path, text, message):
    (tmp_path / "a.run").write_text(text)
    with pytest.raises(InputFileError, match=message):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 0 d1 1\nq1 0 d2 good\n", r"q\.txt, line 2: expected query, document and grade"),
        ("q1 0 d1\n", r"q\.txt, line 1: expected"),
        ("q1 0 d1 1 5\n", r"q\.txt, line 1: expected"),
        ("q1 0 d1 1\nq1 0 d1 2\n", r"q\.txt, line 2: document 'd1' has grade 2 for query 'q1', and 1 before"),
        ("", "contains no judgements"),
    ],
)
def test_bad_judgements_are_named_by_file_and_line(tmp_path, text, message):
    (tmp_path / "q.txt").write_text(text)
    with pytest.raises(InputFileError, match=message):
        read_qrels(tmp_path / "q.txt")
