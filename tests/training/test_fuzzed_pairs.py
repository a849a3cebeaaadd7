"""Odd files of pairs: either valid pairs, or a one-line error with file and line."""

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.errors import InputFileError, InvalidValueError, RerankError
from rerank_plugin.training.data.checks import check_pairs
from rerank_plugin.training.data.gather import gather
from rerank_plugin.training.data.pairs import read_pairs
from rerank_plugin.training.recipe.request import TrainingRequest

texts = st.text(max_size=8) | st.sampled_from(["\ud800", "a\x00b", "\ufeff", "\u2028", "fox", "", " ", "x" * 3000])
values = (
    texts
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, float("nan"), "nan", "1e999", "0.5", 1, 0])
    | st.lists(texts, max_size=3)
    | st.dictionaries(texts, texts, max_size=2)
)
names = st.sampled_from(
    "query passage label teacher_score positive negative negatives negative_1 sentence_0 score text id".split()
)
likely = st.fixed_dictionaries({"query": texts, "passage": texts, "label": st.sampled_from([0, 1, 0.5, "1", True])})
rows = st.dictionaries(names | texts, values, max_size=6) | st.builds(
    lambda row, more: row | more, likely, st.dictionaries(names, values, max_size=1)
)


def check_reading(path: Path) -> None:
    """Read a file, and check what comes out."""
    try:
        pairs = read_pairs(path)
    except InputFileError as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message
        assert ", line " in message or "UTF-8" in message
        return
    for pair in pairs:
        assert str(path) in pair.source
        assert (pair.query + pair.passage).encode("utf-8") is not None
        assert isinstance(pair.label, float)
        assert pair.teacher_score is None or math.isfinite(pair.teacher_score)
    try:
        kept, _ = check_pairs(pairs, drop=True)
    except InvalidValueError as error:
        message = str(error)
        assert "no training pairs" in message
    else:
        assert all(0 <= pair.label <= 1 and pair.query.strip() and pair.passage.strip() for pair in kept)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(content=st.lists(rows, max_size=4))
def test_odd_json_lines(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "odd.jsonl"
    path.write_text("\n".join(map(json.dumps, content)), encoding="utf-8")
    check_reading(path)


cells = st.lists(texts.filter(lambda text: "\ud800" not in text), max_size=5)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(content=st.lists(cells | st.just(["query", "passage", "label"]) | st.just(["fox", "a fox", "1"]), max_size=4))
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_odd_tables(tmp_path_factory, content, ending):
    path = tmp_path_factory.getbasetemp() / f"odd.{ending}"
    with path.open("w", encoding="utf-8", newline="") as file:
        if ending == "csv":
            csv.writer(file).writerows(content)
        else:
            file.write("\n".join("\t".join(row) for row in content))
    check_reading(path)


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=60))
@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
def test_odd_bytes(tmp_path_factory, content, ending):
    path = tmp_path_factory.getbasetemp() / f"bytes.{ending}"
    path.write_bytes(content)
    check_reading(path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"query": "\ud800", "passage": "p", "label": 1}, "a string contains a lone surrogate"),
        ({"query": "q", "positive": "p", "negatives": ["\udfff"]}, "a string contains a lone surrogate"),
        ({"query": "q", "passage": "p", "label": 10**400}, "the number 1000"),
        (
            {"query": "q", "passage": "p", "label": 1, "teacher_score": float("nan")},
            "not valid JSON (NaN is not a JSON number)",
        ),
        ({"query": "q", "passage": "p", "label": 1, "teacher_score": True}, "teacher_score must be a finite number"),
        ({"query": "q" * 10_000_000, "passage": 5, "label": 1}, "passage must be a string, got 5"),
        ({"query": ["q" * 1_000_000], "passage": "p", "label": 1}, "query must be a string, got ['q"),
        ({"x" * 1_000_000: 1}, "lacks query; it has xxx"),
    ],
    ids=range(8),
)
def test_an_odd_row_is_refused_in_a_short_line_with_its_place(tmp_path, row, reason):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "q", "passage": "p", "label": 1}\n' + json.dumps(row))
    with pytest.raises(InputFileError) as error:
        read_pairs(path)
    assert f"{path}, line 2: {reason}" in str(error.value)
    assert len(str(error.value)) < 500


def test_a_line_of_ten_megabytes_is_read(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"query": "q", "passage": "long " * 2_000_000, "label": 1}))
    assert len(read_pairs(path)[0].passage) == 10_000_000


@pytest.mark.parametrize(
    ("name", "text"), [("p.csv", "query,passage,query\nq,p,1\n"), ("p.tsv", "query\tlabel\tlabel\na\t1\t0\n")]
)
def test_two_columns_with_the_same_name_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputFileError, match=r"line 1: the header has '(query|label)' twice"):
        read_pairs(tmp_path / name)


@pytest.mark.parametrize("column", [[True, False], [1, 0], ["1", "0"]])
def test_labels_of_a_parquet_file_may_be_booleans(tmp_path, column, monkeypatch):
    import pyarrow as pa

    table = pa.table({"query": ["q", "q"], "passage": ["p", "r"], "label": column})
    assert [pair.label for pair in read_parquet(table, tmp_path, monkeypatch)] == [1.0, 0.0]


def test_bytes_in_a_parquet_file_that_are_not_text_are_refused(tmp_path, monkeypatch):
    import pyarrow as pa

    broken = pa.array([b"ok", b"caf\xe9"]).view(pa.string())
    table = pa.table({"query": ["q", "q"], "passage": broken, "label": [1.0, 0.0]})
    with pytest.raises(InputFileError, match=r"pairs\.parquet, after line 1: cannot be read"):
        read_parquet(table, tmp_path, monkeypatch)


def read_parquet(table, folder, monkeypatch):
    import datasets
    from pyarrow.parquet import write_table

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    datasets.disable_progress_bars()
    write_table(table, folder / "pairs.parquet")
    try:
        return read_pairs(folder / "pairs.parquet")
    finally:
        datasets.enable_progress_bars()


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.csv", "query,passage,label\n")])
def test_a_file_without_pairs_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / "good.jsonl").write_text('{"query": "q", "passage": "p", "label": 1}')
    request = TrainingRequest(data=(tmp_path / "good.jsonl", tmp_path / name), output=tmp_path / "model")
    with pytest.raises(RerankError, match=f"{name} has no pairs: check that it is the right file"):
        gather(request, None)


def test_a_named_pipe_is_refused_at_once(tmp_path):
    import os

    os.mkfifo(tmp_path / "pairs.jsonl")
    with pytest.raises(InputFileError, match="neither a regular file nor a folder"):
        read_pairs(tmp_path / "pairs.jsonl")
