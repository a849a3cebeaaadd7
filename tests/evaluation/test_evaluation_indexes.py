"""The indexes that evaluations keep: rebuilt if missing, named if damaged, always in the cache."""

import json
import shutil

import pytest

from rerank_plugin.errors import InputFileError, StoreError
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.indexes import kept_index
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.pipelines import read_pipeline
from rerank_plugin.store import HybridDocumentStore

PIPELINES = [split_stages("bm25", read_pipeline("bm25"))]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def hits(folder):
    store = HybridDocumentStore(folder)
    try:
        return [document.meta["doc_id"] for document in store.bm25_retrieval("red fox", top_k=3)]
    finally:
        store.close()


@pytest.mark.parametrize("gone", ["the folder", "the documents"])
def test_a_missing_index_is_built_again(collection, cache, gone):
    made = open_collection(collection)
    folder = kept_index(made, language="en", pipelines=PIPELINES)
    before = hits(folder)
    assert before
    if gone == "the documents":
        for path in folder.glob("documents*"):
            path.unlink()
        with pytest.raises(StoreError, match=r"delete .*, and it is built again"):
            kept_index(made, language="en", pipelines=PIPELINES)
    shutil.rmtree(folder)
    assert hits(kept_index(made, language="en", pipelines=PIPELINES)) == before


@pytest.mark.parametrize("content", [b"not a database at all", b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_index_is_named_with_the_remedy(collection, cache, content):
    made = open_collection(collection)
    folder = kept_index(made, language="en", pipelines=PIPELINES)
    for path in folder.glob("documents.sqlite-*"):
        path.unlink()
    (folder / "documents.sqlite").write_bytes(content)
    with pytest.raises(StoreError) as error:
        kept_index(made, language="en", pipelines=PIPELINES)
    assert f"delete {folder}, and it is built again" in str(error.value)
    shutil.rmtree(folder)
    assert hits(kept_index(made, language="en", pipelines=PIPELINES))


@pytest.mark.parametrize("lang", ["../../escape", "/absolute", "..", "x" * 300, "a\x00b", "a\nb", "ру"])
def test_s4_the_lang_of_a_query_cannot_lead_out_of_the_cache(collection, tmp_path, cache, lang):
    own = tmp_path / "own"
    shutil.copytree(collection, own)
    rows = [json.loads(line) for line in (own / "queries.jsonl").read_text().splitlines()]
    (own / "queries.jsonl").write_text("\n".join(json.dumps({**row, "metadata": {"lang": lang}}) for row in rows))
    outside = {path for path in tmp_path.rglob("*") if cache not in path.parents}
    folder = kept_index(open_collection(own), language="simple", pipelines=PIPELINES, lang=lang)
    assert hits(folder)
    assert folder.parent == cache / "indexes"
    assert {path for path in tmp_path.rglob("*") if cache not in path.parents} - outside <= {cache.parent, cache}


def test_s4_similar_langs_have_separate_indexes(collection, cache):
    made = open_collection(collection)
    folders = {kept_index(made, language="simple", pipelines=PIPELINES, lang=lang) for lang in ("a/b", "a_b", "a b")}
    assert len(folders) == 3


@pytest.mark.parametrize("identifier", ["", "..", "../x", "/etc", "a//b", "a/../b", "x\x00", ".hidden"])
def test_s4_an_id_of_ir_datasets_is_not_a_path(cache, identifier):
    with pytest.raises(InputFileError, match="is not an id of ir_datasets"):
        open_collection(f"irds:{identifier}")
    assert not cache.exists()
