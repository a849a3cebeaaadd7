"""Pairs of a run: collections are mined once, and again if anything that the negatives depend on has changed."""

from dataclasses import replace
from pathlib import Path

import pytest
from mining_helpers import foxes_and_skies

from rerank_plugin.errors import InputFileError
from rerank_plugin.training.data.gather import gather
from rerank_plugin.training.mining.rules import MiningRules
from rerank_plugin.training.recipe.request import TrainingRequest


@pytest.fixture
def request_of_foxes(tmp_path, monkeypatch) -> TrainingRequest:
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    foxes_and_skies(tmp_path / "foxes")
    return TrainingRequest(data=(tmp_path / "foxes",), output=tmp_path / "model")


def mined(request: TrainingRequest) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (request.output / "mined").glob("*.jsonl")}


def test_l9_an_edited_query_gets_new_negatives_and_nothing_is_mined_twice(request_of_foxes):
    request, told = request_of_foxes, []
    first = gather(request, lambda *facts: told.append(facts))
    assert any(what == "Mining foxes" for what, _, _ in told)
    told.clear()
    assert gather(request, lambda *facts: told.append(facts)) == first
    assert told == []
    before = mined(request)
    queries = request.data[0] / "queries.jsonl"
    queries.write_text(queries.read_text(encoding="utf-8").replace("fox 3", "sky 3"), encoding="utf-8")
    second = gather(request, None)
    assert {pair.query for pair in first} ^ {pair.query for pair in second} == {"fox 3 где", "sky 3 где"}
    assert any("sky" in pair.passage for pair in second if pair.query == "sky 3 где" and pair.label == 0)
    assert before.items() < mined(request).items(), "the file of the old queries stays as it was"
    gather(replace(request, rules=MiningRules(seed=7)), None)
    assert len(mined(request)) == 3


def test_two_collections_with_the_same_name_are_mined_separately(request_of_foxes, tmp_path):
    other = foxes_and_skies(tmp_path / "elsewhere" / "foxes", judged=[5]).dataset.folder
    pairs = gather(replace(request_of_foxes, data=(*request_of_foxes.data, other)), None)
    assert {pair.query for pair in pairs if pair.label == 1} == {*(f"fox {i} где" for i in range(4)), "fox 5 где"}
    assert len(mined(request_of_foxes)) == 2


def test_a_mined_file_that_was_cut_after_it_was_finished_is_mined_again(request_of_foxes):
    first = gather(request_of_foxes, None)
    [(path, content)] = mined(request_of_foxes).items()
    path.write_bytes(content[:100])
    assert gather(request_of_foxes, None) == first
    assert path.read_bytes() == content


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputFileError, match="nothing does not exist: check the path"):
        gather(TrainingRequest(data=(tmp_path / "nothing",), output=tmp_path), None)
