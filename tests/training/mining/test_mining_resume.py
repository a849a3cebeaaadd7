"""An interrupted run resumes and ends in the same files; a finished one, or one with other settings, is left alone."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from haystack import Document
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_helpers import (
    RULES,
    SharedWords,
    contents,
    foxes_and_skies,
    rows,
    run,
    windows,
    write_collection,
    write_qrels,
)

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.training.mining.first_stage import FirstStageSpec
from rerank_plugin.training.mining.mine import MiningJob, mine
from rerank_plugin.training.mining.rules import MiningRules


class KilledError(Exception):
    """Stands for any interruption of a run."""


class Interrupted(SharedWords):
    """A first stage whose process ends after some queries."""

    def __init__(self, collection: Collection, after: int) -> None:
        super().__init__(collection)
        self._after = after

    def find(self, query, depth):
        if len(self.asked) == self._after:
            raise KilledError
        return super().find(query, depth)


@pytest.fixture
def foxes(tmp_path) -> Collection:
    return foxes_and_skies(tmp_path / "foxes")


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "mined" / "pairs.jsonl"


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> Collection:
    """Seven queries with answers."""
    return foxes_and_skies(tmp_path_factory.mktemp("collections") / "seven", judged=range(7))


@pytest.fixture(scope="module")
def whole(seven, tmp_path_factory) -> dict[str, bytes]:
    """The files of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "pairs.jsonl"
    run(seven, output)
    return contents(output.parent)


@pytest.fixture
def interrupt(seven, output) -> Callable[[int], None]:
    """A function that mines, and is killed after some queries."""

    def after(queries: int) -> None:
        with pytest.raises(KilledError):
            run(seven, output, finder=Interrupted(seven, queries))

    return after


def test_an_interrupted_run_resumes(seven, whole, output, interrupt):
    interrupt(2)
    interrupt(3)
    finder, told = SharedWords(seven), []
    counts = run(seven, output, finder=finder, on_progress=lambda *numbers: told.append(numbers))
    assert contents(output.parent) == whole
    assert ([id_ for id_, _ in finder.asked], told) == (["q5", "q6"], [(6, 7), (7, 7)])
    assert (counts.queries, counts.negatives["random"]) == (7, 7)


def test_each_query_is_written_as_soon_as_it_is_finished(seven, whole, output, interrupt):
    for done in range(1, 7):
        interrupt(1)
        assert {row["query_id"] for row in rows(output)} == {f"q{i}" for i in range(done)}
        assert whole["pairs.jsonl"].startswith(output.read_bytes())


def recorded(journal: bytes) -> int:
    """Return the length of the file after the last complete entry of a journal."""
    lines = journal.split(b"\n")[:-1]
    return json.loads(lines[-1])[1] if lines else 0


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 7), st.floats(0, 1), st.floats(0, 1), st.binary(max_size=9))
def test_a_run_that_was_killed_while_writing_ends_in_the_same_files(
    seven, whole, tmp_path_factory, queries, journal_part, output_part, rest
):
    output = tmp_path_factory.mktemp("cut") / "pairs.jsonl"
    journal = output.with_name("pairs.jsonl.journal")

    def stop(number: int, _total: int) -> None:
        if number == 7:
            raise KilledError

    with pytest.raises(KilledError):
        run(seven, output, finder=Interrupted(seven, queries), on_progress=stop)
    if journal.exists():
        noted, written = journal.read_bytes(), output.read_bytes()
        noted = noted[: round(len(noted) * journal_part)]
        # A query is recorded after it is written, so the file is at least as long as the journal says.
        least = recorded(noted)
        journal.write_bytes(noted)
        output.write_bytes(written[: least + round((len(written) - least) * output_part)] + rest)
    run(seven, output)
    assert contents(output.parent) == whole
    shutil.rmtree(output.parent)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_file_shorter_than_its_journal_is_repaired(seven, whole, output, interrupt, part):
    interrupt(5)
    written = output.read_bytes()
    output.write_bytes(written[: round(len(written) * part)])
    run(seven, output)
    assert contents(output.parent) == whole


def test_a_run_killed_while_saving_its_state_is_finished(seven, whole, output, interrupt):
    interrupt(6)
    journal = output.with_name("pairs.jsonl.journal")

    def keep_journal(_number: int, _total: int) -> None:
        shutil.copy(journal, journal.with_name("kept"))

    run(seven, output, on_progress=keep_journal)
    journal.with_name("kept").rename(journal)
    finder = SharedWords(seven)
    counts = run(seven, output, finder=finder)
    assert (contents(output.parent), finder.asked, counts.queries) == (whole, [], 7)


def test_ids_with_odd_line_ends_are_resumed(tmp_path, output):
    queries = {f"q\u2028{i}": f"fox {i}" for i in range(3)}
    judged = {id_: {f"d{i}": 1} for i, id_ in enumerate(queries)}
    collection = write_collection(tmp_path / "c", {f"d{i}": f"fox number {i}" for i in range(9)}, queries, judged)
    with pytest.raises(KilledError):
        run(collection, output, finder=Interrupted(collection, 2))
    assert run(collection, output).queries == 3


def never():
    raise AssertionError("there is nothing to search for")


def test_a_finished_run_is_left_alone(seven, whole, output):
    first = run(seven, output)
    again = mine(MiningJob(seven, output, rules=RULES), never)
    assert (again, contents(output.parent)) == (first, whole)


def test_the_state_has_the_settings_and_the_counts(foxes, output):
    counts = run(foxes, output, first_stage="hybrid", limit=3)
    state = json.loads(output.with_name("pairs.jsonl.state.json").read_text(encoding="utf-8"))
    assert state["counts"] == counts.as_dict()
    assert (state["settings"]["first_stage"], state["settings"]["limit"]) == ("hybrid", 3)
    assert state["settings"]["rules"]["windows"] == ["1-5:2", "6-10:1"]
    assert (state["queries"], state["size"]) == (["q0", "q1", "q2"], output.stat().st_size)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"rules": MiningRules(seed=1)},
        {"rules": MiningRules(windows=windows("1-5:2", "6-10:1"), near_duplicates=None)},
        {"first_stage": "dense"},
        {"limit": 5},
        {"form": "triples"},
        {"rules": MiningRules(absolute_margin=1.0), "guard_model": "m"},
    ],
)
def test_other_settings_for_the_same_file_are_an_error(seven, output, interrupt, change, finished):
    if finished:
        run(seven, output)
    else:
        interrupt(3)
    before = contents(output.parent)
    with pytest.raises(
        InvalidValueError, match=r"pairs\.jsonl was mined with other settings \(see pairs\.jsonl\.state\.json"
    ):
        run(seven, output, **change)
    assert contents(output.parent) == before


def test_another_corpus_for_the_same_file_is_an_error(foxes, output):
    run(foxes, output)
    with foxes.dataset.corpus_file.open("a") as file:
        file.write('{"_id": "new", "text": "fox number 77"}\n')
    with pytest.raises(InvalidValueError, match="mined with other settings"):
        run(foxes, output)


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("corpus.jsonl", "fox number 3", "fox number 4", "corpus"),
        ("queries.jsonl", "fox 3", "fox 4", "queries"),
        ("qrels/train.tsv", "d3", "d4", "judgements"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_l9_an_edit_that_changes_neither_size_nor_date_is_noticed(foxes, output, finished, name, old, new, changed):
    if finished:
        run(foxes, output)
    else:
        with pytest.raises(KilledError):
            run(foxes, output, finder=Interrupted(foxes, 2))
    before = contents(output.parent)
    path = foxes.dataset.folder / name
    dates = path.stat()
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert path.stat().st_size == dates.st_size
    with pytest.raises(InvalidValueError, match=f"mined with other settings .*: {changed} changed; choose another name"):
        run(foxes, output)
    assert contents(output.parent) == before


def test_l9_a_guard_whose_files_changed_is_another_guard(foxes, output, tmp_path):
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "config.json").write_text("{}")
    settings = {"rules": MiningRules(absolute_margin=0.1), "guard_model": str(guard)}
    run(foxes, output, rescore=lambda _query, passages: [0.5] * len(passages), **settings)
    (guard / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(InvalidValueError, match="guard_model changed"):
        run(foxes, output, **settings)


def test_l9_the_key_of_a_first_stage_follows_pipeline_models_and_index(tmp_path, repository):
    own, model = tmp_path / "own.yaml", tmp_path / "encoder"
    model.mkdir()
    (model / "config.json").write_text("{}")
    dense = (repository / "pipelines" / "dense.yaml").read_text(encoding="utf-8")
    own.write_text(dense, encoding="utf-8")
    keys = [FirstStageSpec(str(own), embedding_model=str(model)).key()]
    assert FirstStageSpec(str(own), embedding_model=str(model)).key() == keys[0]
    (model / "model.safetensors").write_bytes(b"other weights")
    keys.append(FirstStageSpec(str(own), embedding_model=str(model)).key())
    keys.append(FirstStageSpec(str(own), "ru", embedding_model=str(model)).key())
    own.write_text(dense.replace("top_k: 10", "top_k: 11"), encoding="utf-8")
    keys.append(FirstStageSpec(str(own), embedding_model=str(model)).key())
    index = tmp_path / "index"
    for text in ("a fox", "the sea"):
        store = HybridDocumentStore(index)
        store.write_documents([Document(content=text)])
        store.close()
        keys.append(FirstStageSpec(str(own), index=index, embedding_model=str(model)).key())
    assert len(set(keys)) == len(keys) == 6


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": 5}'])
def test_a_damaged_state_says_what_to_do(foxes, output, content):
    run(foxes, output)
    output.with_name("pairs.jsonl.state.json").write_text(content)
    with pytest.raises(InvalidValueError, match=r"state\.json is damaged: delete it and pairs\.jsonl to mine again"):
        run(foxes, output)


@pytest.mark.parametrize("name", ["queries.jsonl", "qrels/train.tsv"])
def test_other_queries_or_judgements_for_the_same_file_are_an_error(foxes, output, name):
    run(foxes, output)
    path = foxes.dataset.folder / name
    path.write_text(path.read_text(encoding="utf-8").replace("q3", "q6"), encoding="utf-8")
    if name == "queries.jsonl":
        write_qrels(foxes.dataset.folder, {"q0": {"d0": 1}, "q6": {"d6": 1}})
    with pytest.raises(InvalidValueError, match="mined with other settings"):
        run(foxes, output)


def test_a_file_that_was_not_mined_is_not_touched(foxes, output):
    output.parent.mkdir()
    output.write_text("my notes\n")
    with pytest.raises(
        InvalidValueError, match=r"pairs\.jsonl exists, but was not mined: choose another name, or delete it"
    ):
        run(foxes, output)
    assert contents(output.parent) == {"pairs.jsonl": b"my notes\n"}


def test_a_file_that_was_deleted_is_mined_again(seven, whole, output):
    run(seven, output)
    output.unlink()
    run(seven, output)
    assert contents(output.parent) == whole


def test_after_deleting_both_files_the_run_starts_again(seven, whole, output, interrupt):
    interrupt(3)
    output.unlink()
    output.with_name("pairs.jsonl.state.json").unlink()
    run(seven, output)
    assert contents(output.parent) == whole
