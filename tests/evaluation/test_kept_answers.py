"""Kept answers: reused only for the same query, never damaged, and shared by concurrent processes."""

import json
import os
import shutil

import pytest
from haystack import Document
from haystack.document_stores.in_memory import InMemoryDocumentStore
from hypothesis import given, settings
from hypothesis import strategies as st
from zygote import run_python

from rerank_plugin.errors import BusyError, InputFileError
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.outcome_file import OutcomeFile
from rerank_plugin.evaluation.outcomes import Outcome
from rerank_plugin.evaluation.output_folder import reserve_folder
from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.evaluation.run import run_evaluation
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.indexing import index_paths
from rerank_plugin.pipelines import read_pipeline
from rerank_plugin.scoring.calibration import Calibration

QUERIES = {"q1": "capital of france", "q2": "red fox"}


@pytest.fixture(scope="module")
def index(collection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "index"
    index_paths([collection], folder, pipeline="indexing_keyword")
    return folder


@pytest.fixture
def own_collection(collection, tmp_path):
    shutil.copytree(collection, tmp_path / "own")
    return tmp_path / "own"


def write_queries(folder, queries):
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": q}) for i, q in queries.items()))


def ndcg(folder, index, output):
    request = EvalRequest(str(folder), pipelines=["bm25"], index=index, output=output, measures=["nDCG@10"])
    return run_evaluation(request).evaluations["bm25"].per_query["nDCG@10"]


def test_l7_an_edited_query_is_asked_again(own_collection, index, tmp_path):
    good = {"q1": "capital of france", "q2": "red fox", "q3": "coffee and tea", "q4": "where are the books"}
    write_queries(own_collection, good | {"q1": "moon earth sun"})
    assert ndcg(own_collection, index, tmp_path / "out")["q1"] == 0.0
    write_queries(own_collection, good)
    assert ndcg(own_collection, index, tmp_path / "out")["q1"] > 0.5


def test_l7_query_sets_with_the_same_ids_do_not_mix(index, tmp_path):
    staged = split_stages("bm25", read_pipeline("bm25", index=index))

    def first(queries):
        answers = Experiment(ExperimentSettings(5, tmp_path)).run([staged], queries)["bm25"]
        return [answer.documents[0] for answer in answers]

    one, two = {"1": "capital of france", "2": "red fox"}, {"1": "red fox", "2": "capital of france"}
    ours, theirs = first(one), first(two)
    assert ours == theirs[::-1]
    assert first(one) == ours


@pytest.mark.slow
def test_l7_another_calibration_is_another_ranker(index, cross_encoder, tmp_path):
    """The calibration in the model's folder is not part of the model's fingerprint, but it determines the fusion weight."""
    model = tmp_path / "model"
    shutil.copytree(cross_encoder, model)
    data = read_pipeline("bm25_rerank", index=index)
    data["components"]["ranker"]["init_parameters"] = {"model": str(model), "fusion": "linear", "fusion_weight": None}
    staged = split_stages("p", data)

    def rankings(weight):
        Calibration(fusion_weights={"linear": weight}).save(model / "calibration.json")
        answers = Experiment(ExperimentSettings(12, tmp_path / "answers")).run([staged], QUERIES)["p"]
        return [answer.documents for answer in answers]

    first_stage_only, second_stage_only = rankings(0.0), rankings(1.0)
    assert first_stage_only != second_stage_only
    assert rankings(0.0) == first_stage_only


def test_l7_answers_of_a_store_without_a_revision_are_never_reused(tmp_path):
    store = InMemoryDocumentStore(index="kept-answers")  # stores with the same index name share their documents
    store.write_documents([Document(content="the red fox", meta={"doc_id": "fox"})])
    retriever = {
        "type": "haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever",
        "init_parameters": {"document_store": store.to_dict()},
    }
    staged = split_stages("memory", {"components": {"bm25_retriever": retriever}, "connections": []})

    def documents():
        (answer,) = Experiment(ExperimentSettings(5, tmp_path)).run([staged], {"q": "red fox"})["memory"]
        return set(answer.documents)

    assert documents() == {"fox"}
    store.write_documents([Document(content="another red fox", meta={"doc_id": "other"})])
    assert documents() == {"fox", "other"}


OUTCOMES = [Outcome(f"q{i}", [f"d{i}", "ä\u2028\ud800"], [2.0, 1.0], [1, 2], {"ranker": 1.5}, 2) for i in range(5)]


def fill(path):
    file = OutcomeFile(path)
    for outcome in OUTCOMES:
        file.add("key", outcome)


def test_outcomes_are_read_as_they_were_written(tmp_path):
    fill(tmp_path / "a.jsonl")
    again = OutcomeFile(tmp_path / "a.jsonl")
    assert [again.get("key", f"q{i}") for i in range(5)] == OUTCOMES
    assert again.get("other", "q1") is None


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_file_loses_answers_and_never_changes_one(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "a.jsonl"
    fill(path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "remove"]))
    if kind == "flip":
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[place:]
    elif kind == "remove":
        del content[place : place + data.draw(st.integers(1, 300))]
    else:
        content[place:place] = data.draw(st.binary(min_size=1, max_size=50))
    path.write_bytes(content)
    damaged = OutcomeFile(path)
    survivors = [damaged.get("key", outcome.query) for outcome in OUTCOMES]
    assert all(survivor in (None, outcome) for survivor, outcome in zip(survivors, OUTCOMES, strict=True))
    for outcome in OUTCOMES:
        if damaged.get("key", outcome.query) is None:
            damaged.add("key", outcome)
    assert [OutcomeFile(path).get("key", outcome.query) for outcome in OUTCOMES] == OUTCOMES


def test_lines_of_another_format_are_answered_again(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"settings": "key", "query": "q1", "documents": []}\n')
    assert OutcomeFile(tmp_path / "a.jsonl").get("key", "q1") is None
    fill(tmp_path / "b.jsonl")
    import rerank_plugin.evaluation.outcome_file as module

    before, module.FORMAT = module.FORMAT, 99
    try:
        assert OutcomeFile(tmp_path / "b.jsonl").get("key", "q1") is None
    finally:
        module.FORMAT = before


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(InputFileError, match=r"a\.jsonl cannot be read.*--output"):
        OutcomeFile(tmp_path / "a.jsonl")


WRITER = """
import sys
from pathlib import Path
from rerank_plugin.evaluation.outcome_file import OutcomeFile
from rerank_plugin.evaluation.outcomes import Outcome
file = OutcomeFile(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    file.add("key", Outcome(f"{sys.argv[2]}{number}", [f"d{i}" for i in range(2000)], [float(-i) for i in range(2000)]))
    print(number, flush=True)
"""


def writer(path, name, count):
    process = run_python(WRITER, path, name, count)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_two_processes_keep_answers_in_one_file(tmp_path):
    path = tmp_path / "a.jsonl"
    processes = [writer(path, name, 40) for name in "ab"]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    kept = OutcomeFile(path)
    assert all(len(kept.get("key", f"{name}{i}").documents) == 2000 for name in "ab" for i in range(40))


@pytest.mark.slow
def test_what_was_answered_before_a_kill_is_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    process = writer(path, "a", 10_000)
    process.stdin.write("go\n")
    process.stdin.flush()
    acknowledged = [int(process.stdout.readline()) for _ in range(5)][-1]
    process.kill()
    rest, _ = process.communicate()
    acknowledged = int((rest.split() or [acknowledged])[-1])
    kept = OutcomeFile(path)
    assert all(kept.get("key", f"a{i}") is not None for i in range(acknowledged + 1))
    kept.add("key", OUTCOMES[0])
    assert OutcomeFile(path).get("key", "q0") == OUTCOMES[0]


def test_one_evaluation_at_a_time_writes_to_a_folder(rerank, collection, tmp_path):
    out = tmp_path / "out"
    with reserve_folder(out):
        with pytest.raises(BusyError, match=rf"is writing to {out} \(process {os.getpid()} on "), reserve_folder(out):
            pass
        done = rerank("eval", collection, "--pipeline", "bm25", "--output", out)
        assert done.returncode == 1
        assert "another evaluation is writing to" in done.stderr
    assert not out.exists()
    with reserve_folder(out):
        (out / "report.md").write_text("x")
    assert [path.name for path in out.iterdir()] == ["report.md"], "the lock file is gone"
    (out / ".evaluation.lock").write_text("left by an evaluation that was killed")
    with reserve_folder(out):
        pass


def test_a_folder_that_is_a_file_is_an_error_before_any_work(rerank, collection, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = rerank("eval", collection, "--pipeline", "bm25", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "choose another folder with --output" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"
