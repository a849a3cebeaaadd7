"""Sources of judged queries: BEIR folders, ir_datasets (its real loader, on a collection of files), languages."""

import json

import ir_datasets
import pytest

from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.collection import by_language, count_languages, open_collection
from rerank_plugin.evaluation.indexes import kept_index
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.pipelines import read_pipeline
from rerank_plugin.store import HybridDocumentStore


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A collection of ir_datasets made from files."""
    folder = tmp_path_factory.mktemp("irds")
    (folder / "docs.tsv").write_text("d1\tthe red fox\nd2\tthe blue sky\n")
    (folder / "queries.tsv").write_text("q1\tfox\nq2\tsky\n")
    (folder / "qrels.txt").write_text("q1 0 d1 1\nq2 0 d2 2\nq2 0 d1 -1\n")
    files = {"docs_tsv": "docs.tsv", "queries_tsv": "queries.tsv", "qrels_trec": "qrels.txt"}
    dataset = ir_datasets.create_dataset(**{name: str(folder / file) for name, file in files.items()})
    ir_datasets.registry.register("tests/foxes", dataset)
    ir_datasets.registry.register("tests/unjudged", ir_datasets.create_dataset(docs_tsv=str(folder / "docs.tsv")))
    return "tests/foxes"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path))
    return tmp_path


def test_a_collection_of_ir_datasets_becomes_a_folder_and_is_kept(registered, cache):
    collection = open_collection(f"irds:{registered}")
    queries, qrels = collection.judged()
    assert {id_: query.text for id_, query in queries.items()} == {"q1": "fox", "q2": "sky"}
    assert qrels == {"q1": {"d1": 1}, "q2": {"d2": 2, "d1": -1}}
    assert [document.text for document in collection.dataset.documents()] == ["the red fox", "the blue sky"]
    before = sorted(cache.rglob("*"))
    assert open_collection(f"irds:{registered}").judged()[1] == qrels
    assert sorted(cache.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("tests/unjudged", "has no queries and no qrels"), ("no/such", "has no collection 'no/such'")],
)
def test_what_ir_datasets_cannot_provide_is_an_error(registered, cache, name, message):
    with pytest.raises(InputFileError, match=message):
        open_collection(f"irds:{name}")
    assert list(cache.rglob("*.jsonl")) == []


@pytest.fixture
def bilingual(tmp_path):
    folder = tmp_path / "bilingual"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "text": "foxes"}) + "\n")
    rows = [("q1", "de"), ("q2", "ru"), ("q3", "de"), ("q4", "ru")]
    (folder / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": id_, "text": id_, "metadata": {"lang": lang}}) for id_, lang in rows)
    )
    (folder / "qrels" / "test.tsv").write_text("".join(f"{id_}\td1\t1\n" for id_ in ("q1", "q2", "q3")))
    return open_collection(folder)


def test_one_language_at_a_time_unless_all_are_asked_for(bilingual):
    assert list(bilingual.judged()[0]) == ["q1", "q3"]
    assert list(bilingual.judged(lang="ru")[0]) == ["q2"]
    assert list(bilingual.judged(lang="all")[0]) == ["q1", "q2", "q3"]
    assert list(bilingual.judged(lang="all", limit=2)[0]) == ["q1", "q2"]
    assert count_languages(bilingual) == {"de": 2, "ru": 1}
    groups = by_language(bilingual.judged(lang="all")[0])
    assert {lang: list(queries) for lang, queries in groups.items()} == {"de": ["q1", "q3"], "ru": ["q2"]}
    with pytest.raises(InvalidValueError, match="no judged queries"):
        bilingual.judged(lang="fr")


def test_other_judgements_can_be_used(bilingual, tmp_path):
    (tmp_path / "other.qrels").write_text("q4 0 d1 1\n")
    queries, qrels = open_collection(bilingual.dataset.folder, qrels_file=tmp_path / "other.qrels").judged()
    assert (list(queries), qrels) == (["q4"], {"q4": {"d1": 1}})


@pytest.mark.slow
def test_an_index_is_built_once_per_language_and_updated(bilingual, cache):
    pipelines = [split_stages("bm25", read_pipeline("bm25"))]
    german = kept_index(bilingual, language="de", pipelines=pipelines)
    russian = kept_index(bilingual, language="ru", pipelines=pipelines)
    assert german != russian
    store = HybridDocumentStore(german)
    revision = store.revision()
    assert store.settings()["language"] == "de"
    assert kept_index(bilingual, language="de", pipelines=pipelines) == german
    assert store.revision() == revision
    with bilingual.dataset.corpus_file.open("a") as file:
        file.write(json.dumps({"_id": "d2", "text": "bears"}) + "\n")
    assert kept_index(bilingual, language="de", pipelines=pipelines) == german
    assert (store.count_documents(), store.revision() == revision) == (2, False)


def test_an_index_for_a_language_has_its_documents_and_those_without_a_language(bilingual, cache):
    rows = [
        {"_id": "d2", "text": "Füchse", "metadata": {"lang": "de"}},
        {"_id": "d3", "text": "лисы", "metadata": {"lang": "ru"}},
    ]
    with bilingual.dataset.corpus_file.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    pipelines = [split_stages("bm25", read_pipeline("bm25"))]
    for lang, expected in (("de", {"d1", "d2"}), ("ru", {"d1", "d3"}), (None, {"d1", "d2", "d3"})):
        store = HybridDocumentStore(kept_index(bilingual, language="simple", pipelines=pipelines, lang=lang))
        assert {document.meta["doc_id"] for document in store.filter_documents()} == expected


def test_pipelines_with_different_embedding_models_need_an_index_each(bilingual):
    pipelines = [split_stages(name, read_pipeline("dense", embedding_model=name)) for name in ("one", "two")]
    with pytest.raises(InvalidValueError, match=r"different models, \['one', 'two'\]"):
        kept_index(bilingual, language="de", pipelines=pipelines)
