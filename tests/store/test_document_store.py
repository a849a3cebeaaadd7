"""HybridDocumentStore: Haystack's test mixins, and tests of what they do not cover."""

from dataclasses import replace

import pytest
from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    DocumentStoreBaseExtendedTests,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
)
from store_helpers import make_documents

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store import HybridDocumentStore


class TestHaystackMixins(
    DocumentStoreBaseExtendedTests,
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldUniqueValuesTest,
):
    @pytest.fixture(params=["memory", "folder"])
    def document_store(self, request, tmp_path):
        store = HybridDocumentStore(tmp_path / "index" if request.param == "folder" else None)
        yield store
        store.close()

    def test_write_documents(self, document_store):
        docs = [Document(content="one"), Document(content="two")]
        assert document_store.write_documents(docs) == 2
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents(docs[:1])
        self.assert_documents_are_equal(document_store.filter_documents(), docs)


def test_every_field_comes_back_as_it_was_given():
    document = Document(
        id="x",
        content="a\0b é",
        blob=ByteStream(data=b"\x00\xff", meta={"k": [1]}, mime_type="image/png"),
        meta={
            "text": "ё\0",
            "int": 2**70,
            "float": 0.1,
            "bool": True,
            "none": None,
            "list": [1, {"a": "b"}],
            "": {"x.y": 1},
        },
        score=0.25,
        embedding=[0.1, 1 / 3, -2e-8],
        sparse_embedding=SparseEmbedding(indices=[3, 70], values=[0.1, 2.0]),
    )
    bare = Document(id="y")
    store = HybridDocumentStore()
    store.write_documents([document, bare])
    assert store.filter_documents() == [document, bare]
    assert store.filter_documents({"field": "id", "operator": "==", "value": "y"}) == [bare]


def test_embeddings_come_back_unscaled_whatever_the_similarity():
    store = HybridDocumentStore(similarity="cosine")
    store.write_documents([Document(id="x", content="x", embedding=[3.0, 4.0])])
    store.embedding_retrieval([1.0, 1.0])
    assert store.filter_documents()[0].embedding == [3.0, 4.0]


@pytest.mark.parametrize(
    ("policy", "written", "contents"),
    [
        (DuplicatePolicy.SKIP, 2, ["old", "first", "new"]),
        (DuplicatePolicy.OVERWRITE, 4, ["changed", "second", "new"]),
    ],
)
def test_duplicates_in_the_index_and_in_the_batch(policy, written, contents):
    store = HybridDocumentStore()
    store.write_documents([Document(id="a", content="old", embedding=[1.0, 0.0])])
    batch = [("a", "changed"), ("b", "first"), ("b", "second"), ("c", "new")]
    assert store.write_documents([Document(id=i, content=c) for i, c in batch], policy=policy) == written
    assert [document.content for document in store.filter_documents()] == contents
    overwritten = policy == DuplicatePolicy.OVERWRITE
    assert (store.filter_documents()[0].embedding is None) == overwritten
    assert len(store.embedding_retrieval([1.0, 0.0])) == (0 if overwritten else 1)
    assert [d.id for d in store.bm25_retrieval("second first")] == ["b"]


@pytest.mark.parametrize("policy", [DuplicatePolicy.FAIL, DuplicatePolicy.NONE])
@pytest.mark.parametrize("ids", [["new", "old"], ["new", "new"]])
def test_a_duplicate_stops_the_whole_batch(policy, ids):
    store = HybridDocumentStore()
    store.write_documents([Document(id="old", content="old")])
    with pytest.raises(DuplicateDocumentError, match=ids[1]):
        store.write_documents([Document(id=i, content="other") for i in ids], policy=policy)
    assert [document.content for document in store.filter_documents()] == ["old"]
    assert store.bm25_retrieval("other") == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (Document(id="bad", embedding=[1.0, 2.0]), "'bad' has 2 dimensions.* vectors in this index have 3.*embedding model"),
        (Document(id="bad", embedding=[1.0, float("nan"), 0.0]), "'bad' contains NaN"),
        (Document(id="bad", embedding=[1.0, float("inf"), 0.0]), "'bad' contains NaN, infinity"),
        (Document(id="bad", embedding=[1.0, 1e300, 0.0]), "'bad' .* beyond single precision"),
        (Document(id="bad", embedding=[]), "'bad' .* non-empty"),
        (Document(id="bad", embedding=["1", "2", "3"]), "'bad' .* list of numbers"),
        (Document(id="bad", embedding=[[1.0], [2.0], [3.0]]), "'bad' .* flat"),
        (Document(id="bad", embedding=[1.0, [2.0], 3.0]), "'bad' .* flat"),
        (Document(id="bad", meta={"when": object()}), "meta of document 'bad' .* JSON"),
        (Document(id="bad", meta={"score": float("nan")}), "meta of document 'bad' .* JSON"),
        (Document(id="bad", content="\ud800"), "'bad' .* Unicode"),
        (Document(id="bad", meta={"t": "\ud800"}), "'bad' .* Unicode"),
        (Document(id=7, content="x"), "id of a document must be a string, got 7"),
        ("not a document", "contains a str"),
    ],
)
@pytest.mark.parametrize("index_exists", [True, False])
def test_one_bad_document_and_nothing_is_written(tmp_path, document, message, index_exists):
    store = HybridDocumentStore(tmp_path / "index", embedding_dim=3)
    if index_exists:
        store.write_documents([Document(id="old", content="old words", embedding=[1.0, 2.0, 3.0])])
    before = store.filter_documents()
    with pytest.raises(InvalidValueError, match=message):
        store.write_documents([Document(id="good", content="good words", embedding=[3.0, 2.0, 1.0]), document])
    assert store.filter_documents() == before
    assert len(store.bm25_retrieval("words")) == len(before)
    assert (tmp_path / "index").exists() == index_exists


def test_the_first_embedding_sets_the_length_until_everything_is_deleted():
    store = HybridDocumentStore()
    store.write_documents([Document(id="a", embedding=[1.0, 2.0])])
    with pytest.raises(InvalidValueError, match=r"'b' has 3 dimensions.*vectors in this index have 2"):
        store.write_documents([Document(id="b", embedding=[1.0, 2.0, 3.0])])
    with pytest.raises(InvalidValueError, match=r"query embedding has 1 dimensions.*vectors in this index have 2"):
        store.embedding_retrieval([1.0])
    store.delete_all_documents()
    store.write_documents([Document(id="b", embedding=[1.0, 2.0, 3.0])])
    assert [document.id for document in store.embedding_retrieval([1.0, 2.0, 3.0])] == ["b"]


def test_update_by_filter_keeps_what_is_not_meta(tmp_path):
    """It wrote a checksum without them, so that the document was reported as corrupt."""
    document = Document(
        id="a",
        content="A fox.",
        meta={"n": 1},
        score=0.5,
        blob=ByteStream(b"data", meta={"name": "x"}),
        embedding=[1.0, 2.0],
        sparse_embedding=SparseEmbedding([1], [0.5]),
    )
    with HybridDocumentStore(tmp_path) as store:
        store.write_documents([document])
        store.update_by_filter({"field": "meta.n", "operator": "==", "value": 1}, {"n": 2})
        assert store.filter_documents() == [replace(document, meta={"n": 2})]


def test_update_by_filter_reaches_the_keyword_index():
    store = HybridDocumentStore()
    store.write_documents([Document(id="a", content="text", meta={"n": 1}), Document(id="b", content="text", meta={"n": 2})])
    assert store.bm25_retrieval("heading") == []
    changed = store.update_by_filter({"field": "meta.n", "operator": "==", "value": 2}, {"title": "Headings"})
    assert changed == 1
    assert [document.id for document in store.bm25_retrieval("heading")] == ["b"]
    with pytest.raises(InvalidValueError, match="JSON"):
        store.update_by_filter({"field": "meta.n", "operator": "==", "value": 2}, {"title": {1, 2}})


def test_deleted_documents_are_not_found():
    store = HybridDocumentStore()
    store.write_documents([Document(id=i, content="fox", embedding=[1.0, float(n)]) for n, i in enumerate("abcd")])
    assert len(store.bm25_retrieval("fox")) == len(store.embedding_retrieval([1.0, 0.0])) == 4
    store.delete_documents(["b", "unknown"])
    with pytest.raises(InvalidValueError, match="list of ids, got the string 'ad'"):
        store.delete_documents("ad")
    store.delete_by_filter({"field": "id", "operator": "==", "value": "c"})
    assert [document.id for document in store.bm25_retrieval("fox")] == ["a", "d"]
    assert [document.id for document in store.embedding_retrieval([1.0, 0.0])] == ["a", "d"]
    store.delete_all_documents()
    assert store.bm25_retrieval("fox") == store.embedding_retrieval([1.0, 0.0]) == []


def test_metadata_of_mixed_and_nested_values():
    store = HybridDocumentStore()
    metas = [{"n": 1, "m": "x"}, {"n": 0.5, "m": 2}, {"n": None, "p": {"q": "deep"}}, {"l": [1, 2]}, {"l": [1, 2]}]
    store.write_documents([Document(id=str(i), meta=meta) for i, meta in enumerate(metas)])
    types = {field: info["type"] for field, info in store.get_metadata_fields_info().items()}
    assert types == {"n": "float", "m": "keyword", "p": "keyword", "l": "keyword"}
    assert store.get_metadata_field_min_max("meta.n") == {"min": 0.5, "max": 1}
    assert store.get_metadata_field_min_max("m") == {"min": None, "max": None}
    assert store.get_metadata_field_unique_values("meta.p.q") == (["deep"], 1)
    assert store.get_metadata_field_unique_values("l") == ([[1, 2]], 1)
    assert store.count_unique_metadata_by_filter({}, ["meta.n", "l"]) == {"n": 2, "l": 1}


@pytest.mark.parametrize(
    "parameters",
    [
        {"similarity": "euclid"},
        {"keyword_engine": "lucene"},
        {"language": "xx"},
        {"vector_index": "lsh"},
        {"embedding_dim": 0},
        {"embedding_dim": 1.5},
        {"stop_words": "yes"},
    ],
)
def test_unknown_settings_are_errors_that_name_the_value(parameters):
    (name, value), *_ = parameters.items()
    with pytest.raises(InvalidValueError, match=f"{name}.*{value}"):
        HybridDocumentStore(**parameters)


@pytest.mark.parametrize("top_k", [0, -1, 2.5, True, "10"])
def test_top_k_must_be_a_number_of_documents(top_k):
    store = HybridDocumentStore()
    with pytest.raises(InvalidValueError, match="top_k"):
        store.bm25_retrieval("query", top_k=top_k)
    with pytest.raises(InvalidValueError, match="top_k"):
        store.embedding_retrieval([1.0], top_k=top_k)


def test_writing_nothing_is_fine():
    store = HybridDocumentStore()
    assert store.write_documents([]) == 0
    assert store.write_documents(iter([Document(id="a")])) == 1
    with pytest.raises(InvalidValueError, match="DuplicatePolicy"):
        store.write_documents([Document(id="b")], policy="skip")


def test_a_sample_is_chosen_at_random_in_the_order_of_writing_without_embeddings(tmp_path):
    store = HybridDocumentStore(tmp_path)
    assert store.sample_documents(3) == []
    documents = make_documents(0, 40)
    store.write_documents(documents)
    written = [document.id for document in documents]
    for seed in range(5):
        sample = store.sample_documents(7, seed=seed)
        chosen = [document.id for document in sample]
        assert len(set(chosen)) == 7
        assert chosen == sorted(chosen, key=written.index)
        assert all(document.embedding is None for document in sample)
        assert sample == store.sample_documents(7, seed=seed)
    assert {document.id for seed in range(60) for document in store.sample_documents(7, seed=seed)} == set(written)
    assert [document.id for document in store.sample_documents(100)] == written
    with pytest.raises(InvalidValueError, match="count"):
        store.sample_documents(0)
