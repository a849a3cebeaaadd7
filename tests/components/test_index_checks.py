"""U3: an index that cannot answer says so, in Python as on the command line."""

import logging

import pytest
from haystack import Document

from rerank_plugin import BM25Retriever, EmbeddingRetriever, HybridDocumentStore, load_pipeline
from rerank_plugin.errors import InvalidValueError, StoreError


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def index(folder, *embeddings):
    with HybridDocumentStore(folder) as store:
        store.write_documents([Document(content=f"fox {i}", embedding=vector) for i, vector in enumerate(embeddings)])
    return HybridDocumentStore(folder)


@pytest.mark.parametrize("name", ["bm25", pytest.param("bm25_rerank", marks=pytest.mark.slow)])
def test_u3_a_mistyped_path_is_an_error_in_a_pipeline_for_searching(name, tmp_path):
    pipeline = load_pipeline(name, index=tmp_path / "typo")
    data = {component: {"query": "fox"} for component in ("bm25_retriever", "ranker")[: 2 if "rerank" in name else 1]}
    with pytest.raises(Exception, match=r"there is no index in .*typo: check the path, or create one") as error:
        pipeline.run(data)
    assert isinstance(error.value.__cause__, StoreError)
    assert not (tmp_path / "typo").exists()


def test_u3_a_mistyped_path_is_an_error_in_each_retriever(tmp_path):
    store = HybridDocumentStore(tmp_path / "typo")
    with pytest.raises(StoreError, match="there is no index"):
        BM25Retriever(store).run(query="fox")
    for missing in ("raise", "warn"):
        with pytest.raises(StoreError, match="there is no index"):
            EmbeddingRetriever(store, missing_embeddings=missing).run(query_embedding=[1.0])


def test_u3_an_empty_index_is_one_warning_and_an_empty_store_in_memory_is_none(tmp_path, caplog):
    store = index(tmp_path / "index", None)
    store.delete_all_documents()
    retriever = BM25Retriever(store)
    assert [retriever.run(query="fox")["documents"] for _ in range(2)] == [[], []]
    (warning,) = warnings(caplog)
    assert "holds no documents: fill it with `rerank index" in warning
    assert BM25Retriever(HybridDocumentStore()).run(query="fox") == {"documents": []}
    assert EmbeddingRetriever(HybridDocumentStore()).run(query_embedding=[1.0]) == {"documents": []}
    assert len(warnings(caplog)) == 1


def test_u3_dense_search_without_embeddings_is_an_error_and_beside_bm25_one_warning(tmp_path, caplog):
    store = index(tmp_path / "index", None, None)
    with pytest.raises(StoreError, match=r"none of the 2 documents .* has an embedding.*--pipeline indexing"):
        EmbeddingRetriever(store).run(query_embedding=[1.0])
    retriever = EmbeddingRetriever(store, missing_embeddings="warn")
    assert [retriever.run(query_embedding=[1.0])["documents"] for _ in range(2)] == [[], []]
    (warning,) = warnings(caplog)
    assert "keyword search (BM25) alone answers" in warning


def test_u3_documents_without_an_embedding_beside_others_are_one_warning(tmp_path, caplog):
    retriever = EmbeddingRetriever(index(tmp_path / "index", [1.0], None, None))
    for _ in range(2):
        retriever.warm_up()
    (warning,) = warnings(caplog)
    assert "2 of the 3 documents" in warning


def test_no_hits_because_of_filters_are_no_fault(tmp_path, caplog):
    store = index(tmp_path / "index", [1.0])
    none = {"field": "meta.n", "operator": "==", "value": 1}
    assert BM25Retriever(store, filters=none).run(query="fox") == {"documents": []}
    assert EmbeddingRetriever(store, filters=none).run(query_embedding=[1.0]) == {"documents": []}
    assert warnings(caplog) == []


def test_what_to_do_without_embeddings_is_kept_in_yaml_and_checked(tmp_path):
    store = HybridDocumentStore(tmp_path)
    retriever = EmbeddingRetriever.from_dict(EmbeddingRetriever(store, missing_embeddings="warn").to_dict())
    assert retriever.missing_embeddings == "warn"
    with pytest.raises(InvalidValueError, match="missing_embeddings"):
        EmbeddingRetriever(store, missing_embeddings="ignore")


@pytest.mark.slow
def test_u3_on_the_command_line(rerank, tmp_path, bi_encoder):
    (tmp_path / "a.txt").write_text("The red fox jumps.")
    options = ["--index", tmp_path / "index", "--embedding-model", bi_encoder]
    assert rerank("index", tmp_path / "a.txt", *options, "--pipeline", "indexing_keyword").returncode == 0
    dense = rerank("search", "fox", *options, "--pipeline", "dense")
    assert dense.returncode == 1
    assert "none of the 1 documents" in dense.stderr
    hybrid = rerank("search", "fox", *options, "--pipeline", "hybrid")
    assert hybrid.returncode == 0
    assert hybrid.stderr.startswith("warning: none of the 1 documents")
    assert "red fox" in hybrid.stdout
