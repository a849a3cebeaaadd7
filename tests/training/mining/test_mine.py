"""Mining a collection into a file: its content, and that it is reproducible."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from mining_helpers import SharedWords, foxes_and_skies, rows, run, windows, write_collection, write_qrels

from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.collection import Collection, open_collection
from rerank_plugin.training.data.pairs import read_pairs
from rerank_plugin.training.mining.first_stage import FirstStageSpec
from rerank_plugin.training.mining.mine import MiningJob
from rerank_plugin.training.mining.rules import MiningRules


@pytest.fixture
def foxes(tmp_path) -> Collection:
    return foxes_and_skies(tmp_path / "foxes")


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "mined" / "pairs.jsonl"


def test_positives_are_judged_and_negatives_are_retrieved(foxes, output):
    counts = run(foxes, output, rules=MiningRules(windows=windows("1-10:2"), random=0))
    mined = rows(output)
    assert [(row["query_id"], row["passage_id"]) for row in mined if row["label"] == 1] == [
        (f"q{i}", f"d{i}") for i in range(4)
    ]
    negatives = [row for row in mined if row["label"] == 0]
    assert len(negatives) == 8
    assert all("fox" in row["passage"] and row["passage_id"][1:] != row["query_id"][1:] for row in negatives)
    assert (counts.queries, counts.positives, counts.negatives, counts.short) == (4, 4, Counter({"ranks 1-10": 8}), 0)


def test_a_row_says_where_it_comes_from(foxes, output):
    run(foxes, output, limit=1)
    order = [id_ for id_, _ in SharedWords(foxes).find(foxes.judged()[0]["q0"], 10)]
    first, *negatives = rows(output)
    assert first == {
        "query": "fox 0 где",
        "passage": "fox number 0 in the red wood, лиса",
        "label": 1.0,
        "query_id": "q0",
        "passage_id": "d0",
        "rank": None,
    }
    ranks = [row["rank"] for row in negatives]
    assert [row["passage_id"] for row in negatives[:3]] == [order[rank - 1] for rank in ranks[:3]]
    assert (max(ranks[:2]) <= 5 < ranks[2] <= 10, ranks[3:]) == (True, [None])


def test_random_negatives_are_not_from_the_ranking(foxes, output):
    run(foxes, output, rules=MiningRules(windows=windows("1-10:1"), random=20))
    drawn = {row["passage_id"] for row in rows(output) if row["label"] == 0 and row["rank"] is None}
    assert drawn == {f"d{i}" for i in range(10, 20)}


def test_the_first_stage_is_searched_to_the_depth_of_the_rules(foxes, output):
    finder = SharedWords(foxes)
    run(foxes, output, finder=finder, rules=MiningRules(windows=windows("1-3:1", "4-7:1")))
    assert finder.asked == [(f"q{i}", 7) for i in range(4)]


def test_a_query_has_all_its_relevant_passages_and_negatives_for_each(tmp_path, output):
    texts = {f"d{i}": f"fox number {i}" for i in range(20)}
    judged = {"q1": {"d1": 1, "d2": 3, "d3": 0, "gone": 1}}
    collection = write_collection(tmp_path / "c", texts | {"empty": " "}, {"q1": "fox"}, {"q1": judged["q1"] | {"empty": 1}})
    counts = run(collection, output, rules=MiningRules(windows=windows("1-20:3"), random=0))
    by_label = {label: [row["passage_id"] for row in rows(output) if row["label"] == label] for label in (0, 1)}
    assert by_label[1] == ["d1", "d2"]
    assert len(by_label[0]) == 6
    assert not {"d1", "d2", "gone", "empty"} & set(by_label[0])
    assert (counts.queries, counts.positives) == (1, 2)


def test_queries_without_text_or_relevant_documents_are_skipped(tmp_path, output):
    texts = {f"d{i}": f"fox number {i}" for i in range(9)}
    queries = {"empty": " ", "unanswered": "fox", "unjudged": "fox", "asked": "fox 1"}
    qrels = {"empty": {"d1": 1}, "unanswered": {"d1": 0, "gone": 1}, "asked": {"d1": 1}}
    counts = run(write_collection(tmp_path / "c", texts, queries, qrels), output)
    assert ({row["query_id"] for row in rows(output)}, counts.queries) == ({"asked"}, 1)


def test_queries_of_all_languages_are_mined(tmp_path, output):
    texts = {"d1": "red fox", "d2": "рыжая лиса", "d3": "fox лиса"}
    queries = {"q1": ("fox", {"lang": "en"}), "q2": ("лиса", {"lang": "ru"})}
    run(write_collection(tmp_path / "c", texts, queries, {"q1": {"d1": 1}, "q2": {"d2": 1}}), output)
    assert {row["query"] for row in rows(output)} == {"fox", "лиса"}


@pytest.mark.parametrize("qrels", [{"q1": {"gone": 1}}, {"q1": {"d1": 0}}, {"q1": {"d1": -1}}])
def test_a_split_without_relevant_documents_is_an_error(foxes, output, qrels):
    write_qrels(foxes.dataset.folder, qrels)
    with pytest.raises(InputFileError, match="foxes: no query of split 'train' has a relevant document in the corpus"):
        run(foxes, output)
    assert not output.parent.exists()


def test_an_unknown_format_is_an_error(foxes, output):
    with pytest.raises(InvalidValueError, match="format must be one of pairs, triples, got 'csv'"):
        MiningJob(foxes, output, form="csv")


def test_a_guard_model_without_a_margin_is_an_error(foxes, output):
    with pytest.raises(InvalidValueError, match="a guard model needs a margin: set relative_margin or absolute"):
        MiningJob(foxes, output, guard_model="m")


def counts_of(path: Path) -> list[tuple]:
    return [(pair.query, pair.passage, pair.label) for pair in read_pairs(path)]


def test_both_forms_are_read_as_the_same_training_pairs(foxes, output):
    pairs, triples = output, output.with_name("triples.jsonl")
    run(foxes, pairs)
    run(foxes, triples, form="triples")
    assert len(rows(triples)) == 4
    assert counts_of(triples) == counts_of(pairs)
    assert Counter(label for _, _, label in counts_of(pairs)) == {1.0: 4, 0.0: 16}


def test_each_triple_has_its_own_negatives(foxes, output):
    write_qrels(foxes.dataset.folder, {"q1": {"d1": 1, "d9": 1}})
    pairs, triples = output, output.with_name("triples.jsonl")
    run(foxes, pairs)
    run(foxes, triples, form="triples")
    assert sorted(counts_of(triples)) == sorted(counts_of(pairs))
    assert [len(row["negatives"]) for row in rows(triples)] == [4, 4]


def test_the_same_seed_gives_the_same_file_and_another_one_another(foxes, output):
    files = [output, output.with_name("again.jsonl"), output.with_name("other.jsonl")]
    for file, seed in zip(files, (42, 42, 43), strict=True):
        run(foxes, file, rules=MiningRules(windows=windows("1-10:2"), seed=seed))
    first, again, other = (file.read_bytes() for file in files)
    assert first == again != other
    assert b"\\u" not in first


def test_a_limit_gives_the_beginning_of_the_same_file(foxes, output):
    run(foxes, output)
    run(foxes, output.with_name("some.jsonl"), limit=2)
    some = rows(output.with_name("some.jsonl"))
    assert {row["query_id"] for row in some} == {"q0", "q1"}
    assert output.read_bytes().startswith(output.with_name("some.jsonl").read_bytes())


def test_the_order_of_the_queries_changes_only_the_order_of_the_lines(foxes, tmp_path, output):
    turned = tmp_path / "turned"
    shutil.copytree(foxes.dataset.folder, turned)
    lines = (turned / "queries.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (turned / "queries.jsonl").write_text("".join(reversed(lines)), encoding="utf-8")
    run(foxes, output)
    run(open_collection(turned, split="train"), output.with_name("turned.jsonl"))
    first, second = rows(output), rows(output.with_name("turned.jsonl"))
    assert first != second
    for id_ in ("q0", "q1", "q2", "q3"):
        assert [row for row in first if row["query_id"] == id_] == [row for row in second if row["query_id"] == id_]


def test_progress_is_reported_after_each_query(foxes, output):
    told = []
    run(foxes, output, on_progress=lambda *numbers: told.append(numbers))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


ANSWERED = {
    "right": "The capital of France is Paris.",
    "also": "Paris was the capital of kings.",
    "near": "The capital of Italy is Rome.",
    "copy": "The capital of France is Paris!",
}


def test_guards_are_counted_and_can_be_switched_off(tmp_path, output):
    queries = {"q": ("capital", {"answers": ["Paris"]})}
    collection = write_collection(tmp_path / "c", ANSWERED, queries, {"q": {"right": 1}})
    rules = {"windows": windows("1-9:3"), "random": 0}
    guarded = run(collection, output, rules=MiningRules(**rules))
    copies = run(collection, output.with_name("copies.jsonl"), rules=MiningRules(**rules, answers=False))
    free = run(collection, output.with_name("all.jsonl"), rules=MiningRules(**rules, answers=False, near_duplicates=None))
    assert [row["passage_id"] for row in rows(output)] == ["right", "near"]
    assert (guarded.left_out, guarded.short) == ({"answer": 2}, 1)
    assert (copies.left_out, copies.short) == ({"near duplicate": 1}, 1)
    assert (free.left_out, free.short) == ({}, 0)


def shares_of_query(query: str, passages) -> list[float]:
    """A guard: 1 for the fox with the number of the query, less the further away its number is."""
    number = int(query.split()[1])
    return [1 - abs(int(next(filter(str.isdigit, text.split()))) - number) / 10 for text in passages]


def test_a_guard_model_decides_instead_of_the_first_stage(foxes, output):
    rules = MiningRules(windows=windows("1-10:9"), random=0, absolute_margin=0.35)
    counts = run(foxes, output, rules=rules, guard_model="numbers", rescore=shares_of_query)
    for row in rows(output):
        assert row["label"] == 1 or abs(int(row["passage_id"][1:]) - int(row["query_id"][1:])) >= 4
    assert (counts.without_margin, counts.left_out["margin"]) == (0, 3 + 4 + 5 + 6)


def test_a_guard_model_scores_relevant_passages_that_were_not_found(foxes, output):
    write_qrels(foxes.dataset.folder, {"q1": {"d15": 1}})
    rules = MiningRules(windows=windows("1-10:10"), random=0, absolute_margin=0.1)
    asked = []

    def constant(query, passages):
        asked.append((query, list(passages)))
        return [0.9 if "sky" in text else 0.85 if "number 3" in text else 0.2 for text in passages]

    assert run(foxes, output, rules=rules).without_margin == 1
    counts = run(foxes, output.with_name("guarded.jsonl"), rules=rules, guard_model="constant", rescore=constant)
    assert (counts.without_margin, counts.left_out) == (0, {"margin": 1})
    [(query, passages)] = asked
    assert (query, passages[0], len(passages)) == ("fox 1 где", "sky above town 15", 11)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_bm25_mines_what_it_retrieves(foxes, output, cache):
    told = []
    first_stage = FirstStageSpec("bm25").open(foxes, lambda *facts: told.append(facts))
    counts = run(foxes, output, finder=first_stage)
    query = foxes.judged()[0]["q2"]
    ranking = first_stage.find(query, 10)
    assert (ranking[0][0], {id_ for id_, _ in ranking}) == ("d2", {f"d{i}" for i in range(10)})
    assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)
    for row in rows(output):
        if row["query_id"] == "q2" and row["rank"] is not None:
            assert ranking[row["rank"] - 1][0] == row["passage_id"]
    assert counts.negatives == {"ranks 1-5": 8, "ranks 6-10": 4, "random": 4}
    assert {what for what, _, _ in told} == {"Indexing foxes"}
    told.clear()
    assert FirstStageSpec("bm25").open(foxes, lambda *facts: told.append(facts)).find(query, 10) == ranking
    assert told == []


def test_a_pipeline_file_mines_to_the_requested_depth(foxes, output, cache, tmp_path, repository):
    own = tmp_path / "own.yaml"
    own.write_text((repository / "pipelines" / "bm25.yaml").read_text(encoding="utf-8").replace("top_k: 10", "top_k: 2"))
    first_stage = FirstStageSpec(str(own), language="simple").open(foxes)
    query = foxes.judged()[0]["q1"]
    assert [len(first_stage.find(query, depth)) for depth in (1, 2, 9)] == [1, 2, 9]
    assert run(foxes, output, finder=first_stage, first_stage=str(own)).short == 0
