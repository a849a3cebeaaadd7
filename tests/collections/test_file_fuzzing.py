"""Hundreds of mutated files; `tests/soak` reads thousands. Each input that once failed has its own test here."""

import json
from itertools import pairwise

import pytest
from file_fuzzing import fuzz_files

from rerank_plugin.collections import lines
from rerank_plugin.collections.beir import BeirDataset, read_documents
from rerank_plugin.collections.runs import scores_by_rank
from rerank_plugin.collections.trec import read_qrels, read_run, write_qrels, write_run
from rerank_plugin.errors import InputFileError, InvalidValueError


@pytest.mark.slow
def test_mutated_files_are_read_rightly_or_refused_by_name(tmp_path):
    report = fuzz_files(tmp_path, inputs=800, seed=11)
    assert report.faults == []
    assert report.inputs == 800
    assert report.accepted > 50


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "2", "text": "x", "metadata": {"n": NaN}}', "NaN is not a JSON number"),
        ('{"_id": "2", "text": "x", "metadata": {"n": -Infinity}}', "-Infinity is not a JSON number"),
        ('{"_id": "2", "text": "x", "metadata": {"n": 1e999}}', "the number 1e999 is too large"),
        ('{"_id": "2", "text": "x", "metadata": {"n": ' + "9" * 5000 + "}}", "(5000 characters) is too large"),
        ('{"_id": "2", "text": "x", "metadata": {"n": 0.' + "1" * 5000 + "}}", "(5002 characters) is too large"),
        ('{"_id": "2", "text": "half \\ud800 a pair"}', "a lone surrogate"),
        ('{"_id": "2", "text": "x", "metadata": {"\\udfff": 1}}', "a lone surrogate"),
        ('{"_id": "2", "_id": "3", "text": "x"}', "the key '_id' occurs twice"),
        ('{"_id": "2", "text": "x", "metadata": {"a": 1, "a": 2}}', "the key 'a' occurs twice"),
        ('{"_id": "2", "text": "x", "metadata": ' + '{"a":' * 150 + "1" + "}" * 151, "nested deeper than 100 levels"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        ('{"_id": "2", "text": "x\0y"}', "contains a NUL byte"),
        ('{"_id": 2.5, "text": "x"}', "needs '_id', a non-empty string, got 2.5"),
        ('{"_id": true, "text": "x"}', "needs '_id'"),
        ('{"_id": ["2"], "text": "x"}', "needs '_id'"),
        ('{"_id": "2", "text": ["x"]}', "'text' must be a string"),
        ('{"_id": "2", "title": 5, "text": "x"}', "'title' must be a string, got 5"),
        ('{"_id": "2", "text": ' + json.dumps(["x" * 100_000]) + "}", "'text' must be a string, got"),
    ],
)
@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_line_that_json_allows_in_part_is_refused_by_file_and_line(tmp_path, name, line, reason):
    if "title" in line and name == "queries.jsonl":
        pytest.skip("queries have no title")
    (tmp_path / name).write_text('{"_id": "1", "text": "fine"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputFileError) as error:
        list(read_documents(tmp_path / name)) if name == "corpus.jsonl" else BeirDataset(tmp_path).queries()
    assert f"{tmp_path / name}, line 2: " in str(error.value)
    assert reason in str(error.value)
    assert len(str(error.value)) < 600


def test_what_json_does_allow_is_read(tmp_path):
    path = tmp_path / "corpus.jsonl"
    brackets = "[{" * 200
    path.write_bytes(
        b'\xef\xbb\xbf{"_id": "1", "text": "a whole pair \\ud83e\\udd8a", "metadata": {"n": 123456789012345678901234567890}}\r\n'
        + json.dumps({"_id": "2", "text": f'brackets in a text "{brackets}\\" \\u0000'}).encode()
    )
    first, second = read_documents(path)
    assert (first.text, first.metadata) == ("a whole pair \U0001f98a", {"n": 123456789012345678901234567890})
    assert brackets in second.text


def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1 << 20)
    (tmp_path / "corpus.jsonl").write_bytes(b'{"_id": "1", "text": "x"}\n{"_id": "2", "text": "' + b"x" * (2 << 20))
    with pytest.raises(InputFileError, match=r"corpus\.jsonl, line 2: longer than 1 MiB"):
        list(read_documents(tmp_path / "corpus.jsonl"))


def test_utf16_is_named(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "x"}', encoding="utf-16")
    with pytest.raises(InputFileError, match=r"corpus\.jsonl is UTF-16 text, not UTF-8"):
        list(read_documents(tmp_path / "corpus.jsonl"))


@pytest.mark.parametrize(
    "line",
    ["q1\td1\t1_0", "q1\td1\t١", "q1\td1\tnan", "q1\td1\t1.0", "q1\td1\t99999999999", "q1\t0\td1\t5", "\td1\t1", "q1\t\t1"],
)
def test_a_grade_that_only_python_reads_and_a_column_too_many_are_refused(tmp_path, line):
    (tmp_path / "q.tsv").write_text(f"query-id\tcorpus-id\tscore\nq0\td1\t1\n{line}\n", encoding="utf-8")
    with pytest.raises(InputFileError, match=r"q\.tsv, line 3: expected query, document and grade"):
        read_qrels(tmp_path / "q.tsv")


@pytest.mark.parametrize("score", ["1_0", "inf", "-inf", "nan", "1e999", "١", ""])
def test_a_score_that_is_no_finite_number_is_refused(tmp_path, score):
    (tmp_path / "a.run").write_text(f"q1 Q0 d0 1 2 x\nq1 Q0 d1 1 {score} x\n", encoding="utf-8")
    with pytest.raises(InputFileError, match=r"a\.run, line 2: expected query, Q0"):
        read_run(tmp_path / "a.run")


def test_a_no_break_space_is_part_of_an_id(tmp_path):
    (tmp_path / "a.run").write_text("q1 Q0 d\u00a01 1 2 x\n", encoding="utf-8")
    assert read_run(tmp_path / "a.run") == {"q1": {"d\u00a01": 2.0}}


def test_ids_with_blanks_come_back_as_they_were_written(tmp_path):
    run, qrels = {"query 1": {"d 1": 2.0, "d2": 1.0}}, {"query 1": {"d 1": 2, "d2": 0}}
    write_run(tmp_path / "a.run", run, tag="my system")
    write_qrels(tmp_path / "q.txt", qrels)
    assert read_run(tmp_path / "a.run") == run
    assert read_qrels(tmp_path / "q.txt") == qrels


@pytest.mark.parametrize("id_", ["", "a\tb", "a\nb", "a\u2028b", "a\0b"])
def test_an_id_that_no_line_can_hold_is_refused_and_the_file_stays(tmp_path, id_):
    for path in (tmp_path / "a.run", tmp_path / "q.txt"):
        path.write_text("old")
    with pytest.raises(InvalidValueError, match="cannot be written in trec_eval's format"):
        write_run(tmp_path / "a.run", {"q": {id_: 1.0}}, tag="x")
    with pytest.raises(InvalidValueError, match="cannot be written in trec_eval's format"):
        write_qrels(tmp_path / "q.txt", {"q": {id_: 1}})
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}


def test_a_run_with_a_score_that_is_no_finite_number_is_not_written(tmp_path):
    with pytest.raises(InvalidValueError, match="the score of document 'd1' must be a finite number, got inf"):
        write_run(tmp_path / "a.run", {"q": {"d1": float("inf")}}, tag="x")


@pytest.mark.parametrize("scores", [[1e39, 5.0], [-3.4028235e38, -3.4028235e38, 1.0], [float("inf"), 1.0], [float("-inf")]])
def test_scores_beyond_single_precision_keep_the_order(scores):
    from haystack import Document

    ranked = scores_by_rank([Document(id=f"d{i}", content="", score=score) for i, score in enumerate(scores)])
    assert list(ranked) == [f"d{i}" for i in range(len(scores))]
    values = list(ranked.values())
    assert all(above > below for above, below in pairwise(values))
    assert all(abs(value) < 3.5e38 for value in values)
