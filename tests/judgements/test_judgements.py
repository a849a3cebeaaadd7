"""Grades: which are in force, what becomes of them when documents change, and what is on disk."""

import contextlib
import sqlite3

import pytest
from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from rerank_plugin.errors import InputFileError, InvalidValueError, StoreError
from rerank_plugin.indexing import index_paths
from rerank_plugin.judgements.judgements import Judgement, Judgements
from rerank_plugin.judgements.query_files import read_queries
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.judgements import NewQuery

TEXTS = {"a": "the red fox", "b": "the old dog", "c": "a blue sea"}


@pytest.fixture
def store(tmp_path):
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents([Document(id=name, content=text) for name, text in TEXTS.items()])
        yield store


@pytest.fixture
def judgements(store):
    return Judgements(store)


def judge(judgements, document, grade, *, query="fox", judge="anna", **more):
    return judgements.judge(query, Judgement(document, grade, judge, **more))


def grades(judgements, query="fox"):
    return {grade.document_id: grade.grade for grade in judgements.grades(query) if not grade.stale}


def test_the_last_grade_is_in_force_and_undo_brings_back_the_one_before(judgements):
    judge(judgements, "a", 1)
    judge(judgements, "a", 3)
    judge(judgements, "b", 0, judge="bert")
    assert grades(judgements) == {"a": 3, "b": 0}
    undone = judgements.undo("anna")
    assert (undone.document_id, undone.grade, undone.query) == ("a", 3, "fox")
    assert grades(judgements) == {"a": 1, "b": 0}
    assert judgements.undo("anna").grade == 1
    assert grades(judgements) == {"b": 0}
    assert judgements.undo("anna") is None
    assert judgements.undo("bert").grade == 0
    assert grades(judgements) == {}
    judge(judgements, "a", 2)
    assert grades(judgements) == {"a": 2}


def test_a_grade_can_be_taken_back_and_that_be_undone(judgements):
    judge(judgements, "a", 2)
    assert judge(judgements, "a", None).grade is None
    assert grades(judgements) == {}
    assert judgements.progress().judged_queries == 0
    judgements.undo("anna")
    assert grades(judgements) == {"a": 2}


def test_a_click_is_marked_and_gives_way_to_a_judgement(judgements):
    judge(judgements, "a", 2, weak=True)
    judge(judgements, "b", 1, weak=True)
    judge(judgements, "b", 0)
    judge(judgements, "b", 3, weak=True)
    assert [(g.document_id, g.grade, g.weak) for g in judgements.grades("fox")] == [("a", 2, True), ("b", 0, False)]
    progress = judgements.progress()
    assert (progress.judged_queries, progress.judgements, progress.clicks) == (1, 1, 1)
    assert judgements.undo("anna").grade == 0, "the click after it is not what is undone"
    assert [(g.document_id, g.grade, g.weak) for g in judgements.grades("fox")] == [("a", 2, True), ("b", 3, True)]


def test_a_grade_follows_its_text_to_another_document(store, judgements):
    judge(judgements, "a", 3)
    judge(judgements, "b", 1)
    store.delete_documents(["a"])
    assert [(g.document_id, g.stale) for g in judgements.grades("fox")] == [("a", True), ("b", False)]
    store.write_documents([Document(id="elsewhere", content=TEXTS["a"], meta={"page": 7})])
    assert grades(judgements) == {"elsewhere": 3, "b": 1}
    judge(judgements, "elsewhere", 2)
    assert grades(judgements) == {"elsewhere": 2, "b": 1}


def test_of_equal_texts_only_the_one_that_was_judged_has_the_grade(store, judgements):
    store.write_documents([Document(id="z", content=TEXTS["a"])])
    judge(judgements, "a", 3)
    assert grades(judgements) == {"a": 3}


def test_a_grade_of_a_text_that_has_changed_is_stale_until_it_is_judged_again_or_comes_back(store, judgements):
    judge(judgements, "a", 3)
    store.write_documents([Document(id="a", content="the red hen")], policy=DuplicatePolicy.OVERWRITE)
    (stale,) = judgements.grades("fox")
    assert (stale.document_id, stale.grade, stale.stale) == ("a", 3, True)
    judge(judgements, "a", 1)
    assert [(g.grade, g.stale) for g in judgements.grades("fox")] == [(1, False)]
    store.write_documents([Document(id="a", content=TEXTS["a"])], policy=DuplicatePolicy.OVERWRITE)
    assert [(g.grade, g.stale) for g in judgements.grades("fox")] == [(3, False)]


def test_documents_without_text_are_known_by_their_id_alone(store, judgements):
    store.write_documents([Document(id="x", meta={"n": 1}), Document(id="y", meta={"n": 2})])
    judge(judgements, "x", 1)
    store.delete_documents(["x"])
    assert [(g.document_id, g.stale) for g in judgements.grades("fox")] == [("x", True)]


def test_judgements_outlive_all_documents_and_indexing_the_files_again(tmp_path):
    (tmp_path / "files").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "files" / f"{name}.txt").write_text(text)
    index_paths([tmp_path / "files"], tmp_path / "index", pipeline="indexing_keyword")
    judgements = Judgements.open(tmp_path / "index")
    ids = {document.content: document.id for document in judgements.store.filter_documents()}
    judge(judgements, ids[TEXTS["a"]], 3)
    judge(judgements, ids[TEXTS["b"]], 2)
    judgements.store.delete_all_documents()
    assert [grade.stale for grade in judgements.grades("fox")] == [True, True]
    (tmp_path / "files").rename(tmp_path / "moved")
    (tmp_path / "moved" / "b.txt").write_text("the old dog sleeps")
    index_paths([tmp_path / "moved"], tmp_path / "index", pipeline="indexing_keyword")
    now = {document.content: document.id for document in judgements.store.filter_documents()}
    assert now[TEXTS["a"]] != ids[TEXTS["a"]]
    assert grades(judgements) == {now[TEXTS["a"]]: 3}
    assert [grade.grade for grade in judgements.grades("fox") if grade.stale] == [2]
    judgements.close()


def test_sets_keep_the_order_of_their_queries_and_count_the_judged_ones(judgements):
    assert judgements.add_queries(["one", " two ", "one"]) == 2
    assert judgements.add_queries([NewQuery("two"), NewQuery("three", "q3", {"lang": "en"})], to="more") == 2
    judge(judgements, "a", 0, query="two")
    judge(judgements, "a", 1, query="asked on the page")
    assert [(query.text, query.judged) for query in judgements.queries("default")] == [
        ("one", 0),
        ("two", 1),
        ("asked on the page", 1),
    ]
    assert [query.id for query in judgements.queries("more")][1] == "q3"
    progress = judgements.progress()
    assert str(progress) == "2 of 4 queries judged"
    assert [(s.name, s.queries, s.judged) for s in progress.sets] == [("default", 3, 2), ("more", 2, 1)]
    with pytest.raises(InvalidValueError, match=r"there is no set of queries 'none': the sets are \['default', 'more'\]"):
        judgements.queries("none")


def test_an_id_stands_for_one_query_and_a_refused_list_adds_nothing(judgements):
    judgements.add_queries([NewQuery("one", "q1")])
    with pytest.raises(InvalidValueError, match="the id 'q1' of the query 'other' stands for another query"):
        judgements.add_queries([NewQuery("new", "q2"), NewQuery("other", "q1")])
    assert [query.text for query in judgements.queries()] == ["one"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"document": "none"}, "there is no document 'none' in this index"),
        ({"grade": 4}, "unknown grade 4"),
        ({"grade": True}, "unknown grade True"),
        ({"judge": "a\tb"}, "judge 'a\\\\tb' must be at most 200 printable characters"),
        ({"judge": ""}, "judge is empty"),
        ({"query": " "}, "query is empty"),
        ({"query": "\ud800"}, "query is not valid Unicode"),
        ({"weak": 1}, "weak must be true or false"),
        ({"shown": {"score": float("nan")}}, "shown cannot be stored as JSON"),
        ({"shown": {"text": "x" * 20_000}}, "pass at most 10000"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_leaves_nothing(judgements, change, message):
    with pytest.raises(InvalidValueError, match=message):
        judge(judgements, **{"document": "a", "grade": 1} | change)
    assert judgements.progress().queries == 0


def test_several_users_of_an_index_see_each_other(store, judgements, tmp_path):
    other = Judgements.open(tmp_path / "index")
    judge(other, "a", 2)
    judge(judgements, "b", 1)
    assert grades(judgements) == grades(other) == {"a": 2, "b": 1}
    other.close()
    store.close()
    assert grades(judgements) == {"a": 2, "b": 1}


def test_judging_leaves_the_revision_of_the_documents_and_what_is_derived_from_them(store, judgements):
    store.bm25_retrieval("fox")
    revision, files = store.revision(), sorted((store.path / "keywords").rglob("*"))
    for number in range(5):
        judge(judgements, "a", number % 4)
    assert store.revision() == revision
    store.bm25_retrieval("fox")
    assert sorted((store.path / "keywords").rglob("*")) == files


def test_l4_a_database_that_lost_an_acknowledged_judgement_is_damaged(store, judgements, tmp_path):
    store.close()
    before = (tmp_path / "index" / "documents.sqlite").read_bytes()
    judge(judgements, "a", 3)
    judgements.close()
    (tmp_path / "index" / "documents.sqlite").write_bytes(before)
    with pytest.raises(StoreError, match=r"ends with change \d+, but change \d+ was acknowledged"):
        Judgements.open(tmp_path / "index").progress()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE judgements SET grade = 0",
        "UPDATE judgements SET document_id = 'b'",
        "UPDATE judgements SET query = 99",
        "DELETE FROM judged_queries",
        "UPDATE judged_queries SET meta = '{'",
    ],
)
def test_s3_damaged_judgements_are_an_error_on_opening(store, judgements, tmp_path, statement):
    judge(judgements, "a", 3)
    judgements.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "index" / "documents.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(StoreError, match="is damaged"):
        Judgements.open(tmp_path / "index").progress()


def test_a_backup_has_the_judgements(store, judgements, tmp_path):
    judge(judgements, "a", 3)
    store.backup(tmp_path / "copy")
    copy = Judgements.open(tmp_path / "copy")
    assert grades(copy) == {"a": 3}
    copy.close()


def test_a_folder_without_an_index_cannot_be_judged(tmp_path):
    with pytest.raises(StoreError, match="holds no index to judge: fill it with `rerank index`"):
        Judgements.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_queries_are_read_from_a_text_and_from_json_lines(tmp_path):
    (tmp_path / "q.txt").write_text("\ufeffone\n\n  two words \none\n", encoding="utf-8")
    assert [query.text for query in read_queries(tmp_path / "q.txt")] == ["one", "two words"]
    (tmp_path / "q.jsonl").write_text('{"_id": 7, "text": "one", "metadata": {"lang": "en"}}\n{"question": "two"}\n')
    assert read_queries(tmp_path / "q.jsonl") == [NewQuery("one", "7", {"lang": "en"}), NewQuery("two")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", "\n \n", "has no queries"),
        ("q.jsonl", '{"text": ""}', "line 1: needs 'text', the query"),
        ("q.jsonl", '{"text": "a"}\n{"title": "b"}', "line 2: needs 'text', the query"),
        ("q.jsonl", '{"text": "a", "metadata": 3}', "line 1: 'metadata' must be an object"),
        ("q.jsonl", '{"text": "a", "_id": true}', "line 1: '_id' must be a string"),
    ],
)
def test_a_malformed_file_of_queries_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputFileError, match=message):
        read_queries(tmp_path / name)
