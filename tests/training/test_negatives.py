import json

import pytest

from rerank_plugin.beir import BeirDataset
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.training.negatives import NegativesConfig, pairs_with_bm25_negatives


@pytest.fixture
def dataset(tmp_path) -> BeirDataset:
    """Ten passages on foxes, ten on the sky; each query has one of the foxes as answer."""
    (tmp_path / "qrels").mkdir()
    foxes = [f"fox number {i} in the red wood" for i in range(10)]
    skies = [f"sky above town {i}" for i in range(10)]
    with (tmp_path / "corpus.jsonl").open("w") as file:
        for i, text in enumerate(foxes + skies):
            file.write(json.dumps({"_id": f"d{i}", "title": "t", "text": text}) + "\n")
    with (tmp_path / "queries.jsonl").open("w") as file:
        for i in range(5):
            file.write(json.dumps({"_id": f"q{i}", "text": f"fox {i}"}) + "\n")
    rows = [f"q{i}\td{i}\t1\n" for i in range(4)] + ["q4\td4\t0\n", "q9\td1\t1\n"]
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return BeirDataset(tmp_path)


def test_positives_are_the_judged_and_negatives_what_bm25_found(dataset):
    pairs = pairs_with_bm25_negatives(dataset, NegativesConfig(hard=2, middle=0, random=0))
    assert {(pair.query, pair.passage) for pair in pairs if pair.label == 1} == {
        (f"fox {i}", f"t\nfox number {i} in the red wood") for i in range(4)
    }
    negatives = [pair for pair in pairs if pair.label == 0]
    assert len(negatives) == 8
    assert all("fox" in pair.passage and f"number {pair.query[-1]} " not in pair.passage for pair in negatives)


def test_random_negatives_come_from_outside_of_what_was_found(dataset):
    pairs = pairs_with_bm25_negatives(dataset, NegativesConfig(hard=0, middle=0, random=20))
    assert {pair.passage for pair in pairs if pair.label == 0} == {f"t\nsky above town {i}" for i in range(10)}


def test_same_seed_same_pairs(dataset):
    assert pairs_with_bm25_negatives(dataset, NegativesConfig()) == pairs_with_bm25_negatives(dataset, NegativesConfig())
    other = pairs_with_bm25_negatives(dataset, NegativesConfig(seed=1))
    assert other != pairs_with_bm25_negatives(dataset, NegativesConfig())


def test_limit_bounds_the_queries(dataset):
    assert len({pair.query for pair in pairs_with_bm25_negatives(dataset, NegativesConfig(), limit=2)}) == 2


def test_a_split_without_relevant_documents_is_an_error(dataset):
    (dataset.folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tgone\t1\n")
    with pytest.raises(InputFileError, match="no query of split 'dev'"):
        pairs_with_bm25_negatives(dataset, NegativesConfig(), split="dev")


@pytest.mark.parametrize("parameters", [{"hard": -1}, {"hard_depth": 0}, {"hard_depth": 61}])
def test_impossible_numbers_are_errors(parameters):
    with pytest.raises(InvalidValueError, match=next(iter(parameters))):
        NegativesConfig(**parameters)
