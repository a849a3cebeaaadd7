import pytest

from rerank_plugin.errors import InputFileError
from rerank_plugin.training.data import LabelledPair, describe, read_pairs, write_pairs

PAIRS = [LabelledPair("red fox", 'a "red" fox\tand more', 1.0), LabelledPair("sky", "blue, sky", 0.25)]


def test_pairs_survive_a_round_trip(tmp_path):
    assert write_pairs(PAIRS, tmp_path / "pairs.jsonl") == 2
    assert read_pairs(tmp_path / "pairs.jsonl") == PAIRS


def test_tables_and_the_names_of_sentence_transformers_are_read(tmp_path):
    (tmp_path / "pairs.tsv").write_text('query\tpassage\tlabel\nred fox\ta "red fox\t1\n')
    (tmp_path / "pairs.csv").write_text('sentence_0,sentence_1,label\nsky,"blue, sky",0.25\n')
    assert read_pairs(tmp_path / "pairs.tsv") == [LabelledPair("red fox", 'a "red fox', 1.0)]
    assert read_pairs(tmp_path / "pairs.csv") == [LabelledPair("sky", "blue, sky", 0.25)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"query": "q", "passage": "p"}', "lacks label"),
        ('{"query": " ", "passage": "p", "label": 1}', "query is empty"),
        ('{"query": "q", "passage": null, "label": 1}', "passage is empty"),
        ('{"query": "q", "passage": "p", "label": 2}', "from 0 to 1, got 2"),
        ('{"query": "q", "passage": "p", "label": "yes"}', "got 'yes'"),
        ('{"query": "q", "passage": "p", "label": NaN}', "from 0 to 1"),
    ],
)
def test_a_malformed_pair_names_file_and_line(tmp_path, line, reason):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "q", "passage": "p", "label": 1}\n' + line)
    with pytest.raises(InputFileError) as error:
        read_pairs(path)
    assert f"{path}, line 2: " in str(error.value)
    assert reason in str(error.value)


def test_a_row_of_another_width_names_file_and_line(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("query\tpassage\tlabel\nq\tp\n")
    with pytest.raises(InputFileError, match="line 2: has 2 columns, the header has 3"):
        read_pairs(path)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputFileError, match=r"none of the endings \.jsonl"):
        read_pairs(tmp_path / "pairs.json")


def test_describe_gives_the_figures_of_a_card():
    statistics = describe(PAIRS)
    assert (statistics.pairs, statistics.mean_label) == (2, 0.625)
    assert statistics.query_characters == (3, 5.0, 7)
    assert statistics.passage_characters == (9, 14.5, 20)
