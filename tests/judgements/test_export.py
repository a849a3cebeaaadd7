"""Exports and imports: what any reader of BEIR folders gets, whatever stands in documents, ids and queries."""

import json
import zipfile

import pytest
from haystack import Document

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.errors import InvalidValueError, OutputError
from rerank_plugin.indexing import index_paths
from rerank_plugin.judgements.dataset import IndexDataset, split_of
from rerank_plugin.judgements.export import export_collection, export_zip
from rerank_plugin.judgements.judgements import Judgement, Judgements
from rerank_plugin.judgements.qrels_import import import_qrels
from rerank_plugin.store import HybridDocumentStore

SCRIPT = "<script>alert('x')</script>"
HOSTILE = f"a\x1b[2J\x9b31m\x00 \u2028 \u202e \x85 {SCRIPT} <svg onload=alert(1)>\r\n\tb\x07"


def deep(levels):
    value = "core"
    for _ in range(levels):
        value = [value]
    return value


def hostile_documents():
    return [
        Document(id="plain", content="the red fox", meta={"title": "Fox", "lang": "en"}),
        Document(id="tab\tand\nbreak", content=HOSTILE, meta={"title": HOSTILE, "file": f"{SCRIPT}.txt"}),
        Document(id=f"=cmd|'/c calc'!A1{SCRIPT}", content="formula"),
        Document(id=" blanks ", content="x" * 5_000_000),
        Document(id="nul\0id", content="nul"),
        Document(id="deep", content="deep", meta={"deep": deep(95), "large": 10**350, "n": [1, 2.5, None, True]}),
        Document(id="Ж" * 300, content="long id"),
        Document(id="empty"),
        Document(id="p1", content="one", meta={"doc_id": "same"}),
        Document(id="p2", content="two", meta={"doc_id": "same"}),
    ]


@pytest.fixture
def judgements(tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents(hostile_documents())
    judgements = Judgements(store)
    for query in ("fox", HOSTILE, "w" * 5_000_000, "=1+1", "одна"):
        judgements.judge_all(
            query, [Judgement(document.id, place % 4, "anna") for place, document in enumerate(hostile_documents())]
        )
    judgements.judge("fox", Judgement("plain", 3, "bert", shown={"pipeline": "bm25", "rank": 1, "blind": False}))
    judgements.judge("clicked", Judgement("plain", 1, "web", weak=True))
    yield judgements
    judgements.close()


@pytest.mark.slow
def test_a_stored_attack_is_text_in_the_export_and_our_reader_reads_it_back(judgements, tmp_path):
    counts = export_collection(judgements, tmp_path / "out")
    dataset = BeirDataset(tmp_path / "out")
    documents = {document.id: document for document in dataset.documents()}
    assert [document.text for document in documents.values()] == [d.content or "" for d in hostile_documents()]
    assert counts["documents"] == len(documents) == 10
    by_place = list(documents.values())
    assert by_place[0].title == "Fox"
    assert by_place[1].title == HOSTILE
    assert by_place[1].metadata == {"file": f"{SCRIPT}.txt", "document_id": "tab\tand\nbreak"}
    assert json.loads(by_place[5].metadata["large"]) == 10**350
    assert by_place[5].metadata["n"] == [1, 2.5, None, True]
    assert by_place[8].id == "same"
    queries = dataset.queries()
    assert [query.text for query in queries.values()] == ["fox", HOSTILE.strip(), "w" * 5_000_000, "=1+1", "одна", "clicked"]
    qrels = {**dataset.qrels("dev"), **dataset.qrels("test")}
    assert qrels.keys() == queries.keys() - {next(id_ for id_, q in queries.items() if q.text == "clicked")}
    for query, grades in qrels.items():
        assert queries[query].text in ("fox", HOSTILE.strip(), "w" * 5_000_000, "=1+1", "одна")
        assert grades.keys() == documents.keys()
    first = qrels[next(id_ for id_, query in queries.items() if query.text == "fox")]
    assert list(first.values()) == [3, 1, 2, 3, 0, 1, 2, 3, 0, 1] or sorted(first.values()) == sorted(
        [3, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    )
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert not {*map(chr, range(32)), "\x85", "\x9b", "\u2028"} - {"\n", "\t"} & set(
                file.read_text(encoding="utf-8")
            )
    lines = [json.loads(line) for line in (tmp_path / "out" / "judgements.jsonl").read_text().splitlines()]
    assert {"judge": "web", "weak": True, "grade": 1}.items() <= next(line for line in lines if line["weak"]).items()


@pytest.mark.slow
def test_the_export_has_each_query_in_one_split_and_is_the_same_twice(judgements, tmp_path):
    for name in ("one", "two"):
        export_zip(judgements, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == [
            "corpus.jsonl",
            "judgements.jsonl",
            "qrels/dev.tsv",
            "qrels/test.tsv",
            "queries.jsonl",
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "one.zip", "two.zip"]
    dataset = IndexDataset(tmp_path / "index")
    dev, test = (set(dataset.qrels(split)) for split in ("dev", "test"))
    assert not dev & test
    assert dev | test == set(dataset.qrels("all"))
    assert {split_of(query.text) for query in dataset.queries("dev").values()} == {"dev"}


def test_an_export_does_not_overwrite(tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(id="a", content="fox")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="out exists and is not empty"):
        export_collection(Judgements(store), tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="choose"):
        export_collection(Judgements(store), tmp_path / "file" / "below")
    store.close()


def test_judgements_of_a_collection_are_imported_and_exported_again(collection, tmp_path):
    index_paths([collection], tmp_path / "index", pipeline="indexing_keyword")
    judgements = Judgements.open(tmp_path / "index")
    done = import_qrels(judgements, collection, judge="tiny")
    assert (done.queries, done.judgements, done.missing) == (4, 4, 0)
    assert import_qrels(judgements, collection, judge="tiny").judgements == 0, "what is in force is not recorded twice"
    export_collection(judgements, tmp_path / "out")
    judgements.close()
    before, after = BeirDataset(collection), BeirDataset(tmp_path / "out")
    assert {**after.qrels("dev"), **after.qrels("test")} == before.qrels("test")
    assert {q.id: q.text for q in after.queries().values()} == {q.id: q.text for q in before.queries().values()}
    assert [(d.id, d.text) for d in after.documents()] == [(d.id, d.text) for d in before.documents()]
    assert IndexDataset(tmp_path / "index").qrels("all") == before.qrels("test")


def test_an_import_says_what_does_not_fit(collection, tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(id="other", content="fox")])
    judgements = Judgements(store)
    with pytest.raises(InvalidValueError, match=r"none of the documents that .* judges, such as 'd0', is in the index"):
        import_qrels(judgements, collection, judge="x")
    store.write_documents([Document(id="d0", content="fox")])
    done = import_qrels(judgements, collection, judge="x")
    assert (done.judgements, done.missing) == (1, 3)
    folder = tmp_path / "graded"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "fox"}')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t4\n")
    with pytest.raises(InvalidValueError, match="the grade 4: grades go from 0 to 3"):
        import_qrels(judgements, folder, judge="x")
    store.close()
