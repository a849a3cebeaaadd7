"""Files of labelled pairs: every format gives the same pairs, and errors name file and line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.errors import InputFileError
from rerank_plugin.training.data.pairs import LabelledPair, read_pairs, write_pairs

QUOTED = 'a "red" fox\n\nand, more'
ROWS = [
    {"query": "red fox", "passage": QUOTED, "label": 1.0, "teacher_score": -2.5},
    {"query": "небо", "passage": "blue, sky", "label": 0.25, "teacher_score": None},
]
TRIPLE = {"query": "q", "positive": "yes", "negative": "no"}


def facts(pairs: list[LabelledPair]) -> list[tuple]:
    return [(pair.query, pair.passage, pair.label) for pair in pairs]


def write_rows(path, *rows: dict):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def pairs_file(tmp_path):
    """A function that writes rows as JSON Lines."""
    return lambda *rows: write_rows(tmp_path / "pairs.jsonl", *rows)


@pytest.fixture
def quiet_datasets(tmp_path, monkeypatch):
    """The library `datasets` without its bars, and with its cache in the test's folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield datasets
    datasets.enable_progress_bars()


texts = st.text(st.characters(codec="utf-8"), max_size=20)


numbers = st.floats(allow_nan=False, allow_infinity=False)
scores = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.builds(LabelledPair, texts, texts, numbers, st.none() | scores), max_size=5))
def test_pairs_survive_a_round_trip(tmp_path_factory, pairs):
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl"
    assert write_pairs(pairs, path) == len(pairs)
    read = read_pairs(path)
    assert [(pair.query, pair.passage, pair.label, pair.teacher_score) for pair in read] == [
        (pair.query, pair.passage, pair.label, pair.teacher_score) for pair in pairs
    ]


def test_a_pair_has_its_source(pairs_file):
    path = pairs_file(*ROWS)
    path.write_text(path.read_text(encoding="utf-8").replace("\n", "\n\n", 1), encoding="utf-8")
    assert [pair.source for pair in read_pairs(path)] == [f"{path}, line 1", f"{path}, line 3"]


def test_what_is_written_has_a_teacher_score_only_where_there_is_one(tmp_path):
    write_pairs([LabelledPair("q", "лиса", 1.0, 0.0), LabelledPair("q", "p", 0.0)], tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"query": "q", "passage": "лиса", "label": 1.0, "teacher_score": 0.0}',
        '{"query": "q", "passage": "p", "label": 0.0}',
    ]


def test_every_form_gives_the_same_pairs(tmp_path, pairs_file, quiet_datasets):
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    data = quiet_datasets.Dataset.from_dict(columns)
    data.to_csv(tmp_path / "pairs.csv", index=False)
    data.to_parquet(tmp_path / "pairs.parquet")
    data.save_to_disk(tmp_path / "saved")
    expected = [LabelledPair("red fox", QUOTED, 1.0, -2.5), LabelledPair("небо", "blue, sky", 0.25)]
    for path in (pairs_file(*ROWS), tmp_path / "pairs.csv", tmp_path / "pairs.parquet", tmp_path / "saved"):
        read = read_pairs(path)
        assert facts(read) == facts(expected), path
        assert [pair.teacher_score for pair in read] == [-2.5, None], path
        assert all(str(path) in pair.source for pair in read)


def test_quotation_marks_are_text_in_tsv_and_quotes_in_csv(tmp_path):
    (tmp_path / "pairs.tsv").write_text('query\tpassage\tlabel\nred fox\t"a" red, "fox\t1\n\nsky\tblue\t0\n')
    (tmp_path / "pairs.csv").write_text('query,passage,label\nred fox,"a ""red"", fox",1\n\nsky,blue,0\n')
    assert facts(read_pairs(tmp_path / "pairs.tsv")) == [("red fox", '"a" red, "fox', 1.0), ("sky", "blue", 0.0)]
    assert facts(read_pairs(tmp_path / "pairs.csv")) == [("red fox", 'a "red", fox', 1.0), ("sky", "blue", 0.0)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quoted_text_keeps_its_blank_lines_and_line_ends(tmp_path, end):
    path = tmp_path / "pairs.csv"
    path.write_bytes(f'query,passage,label{end}q,"one{end}{end}two",1{end}r,three,0{end}'.encode())
    assert facts(read_pairs(path)) == [("q", f"one{end}{end}two", 1.0), ("r", "three", 0.0)]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl"])
def test_a_byte_order_mark_is_not_data(tmp_path, name):
    lines = {
        "pairs.csv": "query,passage,label\nq,p,1\n",
        "pairs.tsv": "query\tpassage\tlabel\nq\tp\t1\n",
        "pairs.jsonl": '{"query": "q", "passage": "p", "label": 1}\n',
    }
    (tmp_path / name).write_text(lines[name], encoding="utf-8-sig")
    assert facts(read_pairs(tmp_path / name)) == [("q", "p", 1.0)]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl"])
def test_an_empty_file_has_no_pairs(tmp_path, name):
    (tmp_path / name).touch()
    assert read_pairs(tmp_path / name) == []


@pytest.mark.parametrize("score", ["teacher_score,", "teacher_score,-1.5"])
def test_a_teacher_may_have_scored_only_some_pairs_of_a_table(tmp_path, score):
    header, value = score.split(",")
    (tmp_path / "pairs.csv").write_text(f"query,passage,label,{header}\nq,p,1,{value}\n")
    assert [pair.teacher_score for pair in read_pairs(tmp_path / "pairs.csv")] == [float(value) if value else None]


@pytest.mark.parametrize("query", ["query", "sentence_0", "sentence1", "question", "anchor"])
@pytest.mark.parametrize("passage", ["passage", "sentence_1", "sentence2", "text", "document"])
@pytest.mark.parametrize("label", ["label", "score"])
def test_column_names_of_other_datasets_are_accepted(pairs_file, query, passage, label):
    assert facts(read_pairs(pairs_file({query: "q", passage: "p", label: 0.5, "id": 7}))) == [("q", "p", 0.5)]


def test_our_own_name_counts_if_a_row_has_another_too(pairs_file):
    row = {"query": "q", "question": "?", "passage": "p", "text": "t", "label": 1, "score": -7.5}
    assert facts(read_pairs(pairs_file(row))) == [("q", "p", 1.0)]


@pytest.mark.parametrize("label", [1, 1.0, True, "1", "1.0"])
def test_a_label_is_whatever_reads_as_a_number(pairs_file, label):
    assert read_pairs(pairs_file({"query": "q", "passage": "p", "label": label}))[0].label == 1.0


def test_invalid_labels_and_texts_are_left_to_the_checks(pairs_file):
    pairs = read_pairs(pairs_file({"query": " ", "passage": "", "label": 7}))
    assert facts(pairs) == [(" ", "", 7.0)]


@pytest.mark.parametrize(
    ("row", "positives", "negatives"),
    [
        (TRIPLE, ["yes"], ["no"]),
        (TRIPLE | {"negative_1": "never", "negative_2": "nor"}, ["yes"], ["no", "never", "nor"]),
        ({"query": "q", "positive": "yes", "negative_1": "never", "negative_2": None}, ["yes"], ["never"]),
        ({"query": "q", "positive": "yes", "negatives": ["no", "never"]}, ["yes"], ["no", "never"]),
        ({"query": "q", "positive": "yes", "negatives": []}, ["yes"], []),
        ({"query": "q", "positive": "yes"}, ["yes"], []),
        ({"anchor": "q", "positives": ["yes", "sure"], "neg": "no"}, ["yes", "sure"], ["no"]),
        ({"question": "q", "pos": ["yes"], "neg": ["no"]}, ["yes"], ["no"]),
    ],
)
def test_a_triple_becomes_a_pair_for_each_passage(pairs_file, row, positives, negatives):
    path = pairs_file(row)
    pairs = read_pairs(path)
    assert facts(pairs) == [("q", text, 1.0) for text in positives] + [("q", text, 0.0) for text in negatives]
    assert {pair.source for pair in pairs} == {f"{path}, line 1"}


def test_other_columns_about_the_negative_are_ignored(pairs_file):
    pairs = read_pairs(pairs_file(TRIPLE | {"negative_score": 0.3, "negative_id": 17}))
    assert facts(pairs) == [("q", "yes", 1.0), ("q", "no", 0.0)]


def test_triples_are_read_from_tables_and_from_datasets(tmp_path, quiet_datasets):
    (tmp_path / "triples.tsv").write_text("anchor\tpositive\tnegative\tnegative_1\nq\tyes\tno\tnever\n")
    (tmp_path / "triples.csv").write_text('query,positive,negative,negative_1\nq,yes,"no",never\n')
    data = quiet_datasets.Dataset.from_dict({"query": ["q"], "positive": ["yes"], "negatives": [["no", "never"]]})
    data.to_parquet(tmp_path / "triples.parquet")
    data.save_to_disk(tmp_path / "saved")
    for name in ("triples.tsv", "triples.csv", "triples.parquet", "saved"):
        assert facts(read_pairs(tmp_path / name)) == [("q", "yes", 1.0), ("q", "no", 0.0), ("q", "never", 0.0)], name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"query": "q", "passage": "p"}', "lacks label; it has query, passage"),
        ('{"query": "q", "passage": "p", "label": null}', "lacks label"),
        ('{"query": "q", "label": 1}', "lacks passage; it has query, label"),
        ('{"passage": "p", "label": 1}', "lacks query; it has passage, label"),
        ('{"query": "q", "passage": null, "label": 1}', "passage must be a string, got None"),
        ('{"query": 5, "passage": "p", "label": 1}', "query must be a string, got 5"),
        ('{"query": "q", "passage": "p", "label": "yes"}', "label must be a number, got 'yes'"),
        ('{"query": "q", "passage": "p", "label": [1]}', "label must be a number, got [1]"),
        (
            '{"query": "q", "passage": "p", "label": 1, "teacher_score": "good"}',
            "teacher_score must be a number, got 'good'",
        ),
        ('{"query": "q", "positive": ["p", 5]}', "positive must be a string, got 5"),
        ('{"query": "q", "positive": "p", "negatives": [null]}', "negative must be a string, got None"),
        ('{"positive": "p", "negative": "n"}', "lacks query"),
        ('["q", "p", 1]', "expected a JSON object, got list"),
        ('{"query": "q"', "not valid JSON"),
    ],
)
def test_a_malformed_row_names_file_and_line(tmp_path, line, reason):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "q", "passage": "p", "label": 1}\n\n' + line)
    with pytest.raises(InputFileError) as error:
        read_pairs(path)
    assert f"{path}, line 3: " in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pairs.tsv", "query\tpassage\tlabel\nq\tp\n", "line 2: has 2 columns, the header has 3"),
        ("pairs.tsv", "query\tpassage\tlabel\nq\tp\t1\t2\n", "line 2: has 4 columns, the header has 3"),
        ("pairs.csv", "query,passage,label\nq,p,1\nq,p\n", "line 3: has 2 columns, the header has 3"),
        ("pairs.csv", 'query,passage,label\nq,"one\n\ntwo",yes\n', "line 4: label must be a number, got 'yes'"),
        ("pairs.csv", "query;passage;label\nq;p;1\n", "line 2: lacks query; it has query;passage;label"),
    ],
)
def test_a_malformed_row_of_a_table_names_file_and_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputFileError) as error:
        read_pairs(path)
    assert f"{path}, {message}" in str(error.value)


def test_a_malformed_row_of_a_dataset_names_folder_and_row(tmp_path, quiet_datasets):
    data = quiet_datasets.Dataset.from_dict({"query": ["q", "q"], "passage": ["p", "p"], "label": [1.0, None]})
    data.save_to_disk(tmp_path / "saved")
    with pytest.raises(InputFileError, match="saved, line 2: lacks label"):
        read_pairs(tmp_path / "saved")


def test_a_text_that_is_too_long_for_csv_names_file_and_line(tmp_path):
    (tmp_path / "pairs.csv").write_text(f"query,passage,label\nq,p,1\nq,{'long ' * 40_000},1\n")
    with pytest.raises(InputFileError, match=r"pairs\.csv, line 3: "):
        read_pairs(tmp_path / "pairs.csv")


def test_a_folder_with_several_splits_lists_them(tmp_path, quiet_datasets):
    data = quiet_datasets.Dataset.from_dict({"query": ["q"], "passage": ["p"], "label": [1.0]})
    quiet_datasets.DatasetDict(train=data, dev=data).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputFileError, match="has several splits, train, dev: give the folder of one of them"):
        read_pairs(tmp_path / "saved")
    assert facts(read_pairs(tmp_path / "saved" / "dev")) == [("q", "p", 1.0)]


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(InputFileError, match="is not a BEIR folder, nor one saved by datasets"):
        read_pairs(tmp_path)


def test_a_file_that_is_not_parquet_is_refused(tmp_path, quiet_datasets):
    (tmp_path / "pairs.parquet").write_bytes(b"no such thing")
    with pytest.raises(InputFileError, match=r"pairs\.parquet is not a Parquet file"):
        read_pairs(tmp_path / "pairs.parquet")


def test_a_broken_parquet_file_is_refused(tmp_path, quiet_datasets):
    path = tmp_path / "pairs.parquet"
    columns = {"query": ["q"] * 500, "passage": [f"passage {i}" for i in range(500)], "label": [1.0] * 500}
    quiet_datasets.Dataset.from_dict(columns).to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"x" * 3000 + content[3020:])
    with pytest.raises(InputFileError, match=r"pairs\.parquet is not a Parquet file"):
        read_pairs(path)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "pairs.tsv", "pairs.parquet", "folder"])
def test_a_missing_path_is_named(tmp_path, name):
    with pytest.raises(InputFileError, match=f"{name} does not exist: check the path"):
        read_pairs(tmp_path / name)


def test_an_unknown_extension_is_refused(tmp_path):
    (tmp_path / "pairs.json").touch()
    with pytest.raises(InputFileError, match=r"none of the extensions \.jsonl, \.tsv, \.csv, \.parquet: convert it"):
        read_pairs(tmp_path / "pairs.json")


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "pairs.tsv"])
def test_a_file_that_is_not_utf8_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"caf\xe9")
    with pytest.raises(InputFileError, match=rf"{name}.*not UTF-8 text"):
        read_pairs(tmp_path / name)
