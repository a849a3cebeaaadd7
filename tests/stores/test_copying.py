"""`rerank copy`: an index moves into a database and back, with its vectors, whatever interrupts it."""

import json
from contextlib import closing

import numpy as np
import pytest
from haystack import Document

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import InvalidValueError, PipelineConfigError, StoreError
from rerank_plugin.indexing import copy_documents
from rerank_plugin.indexing.places import IndexPlace, open_place

pytestmark = pytest.mark.slow
DIMENSION = 32


def fill(folder, count=600, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # Qdrant stores them so
    documents = [
        Document(
            id=f"{i:064x}",
            content=f"passage {i}",
            meta={"source": f"/files/{i % 7}.md", "source_fingerprint": "f", "title": f"t{i}", "page": i},
            embedding=vector.tolist(),
        )
        for i, vector in enumerate(vectors)
    ]
    with HybridDocumentStore(folder) as store:
        store.write_documents(documents)
    return folder


def contents(place):
    with closing(open_place(place)) as opened:
        return {document.id: document for _, part in opened.parts(0, 1000) for document in part}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key, document in first.items():
        other = second[key]
        assert (document.content, document.meta) == (other.content, other.meta)
        assert np.allclose(document.embedding, other.embedding, atol=1e-6)


def test_there_and_back(database, tmp_path):
    index, pipeline = fill(tmp_path / "index"), database.pipeline(database.indexing)
    there = copy_documents(index, pipeline)
    assert (there.copied, there.resumed, there.total) == (600, 0, 600)
    assert_equal(contents(index), contents(pipeline))
    back = copy_documents(pipeline, tmp_path / "back")
    assert (back.copied, back.total) == (600, 600)
    assert_equal(contents(index), contents(tmp_path / "back"))
    again = copy_documents(index, pipeline)
    assert (again.copied, again.total) == (600, 600)


def test_an_interrupted_copy_is_resumed(database, tmp_path, monkeypatch):
    index, pipeline = fill(tmp_path / "index"), database.pipeline(database.indexing)
    parts = IndexPlace.parts

    def breaking(self, after, size):
        yield next(parts(self, after, 200))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(IndexPlace, "parts", breaking)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                copy_documents(index, pipeline)
    report = copy_documents(index, pipeline)
    assert (report.copied, report.resumed, report.total) == (200, 400, 600)
    assert_equal(contents(index), contents(pipeline))


def test_a_changed_source_is_copied_from_the_beginning(new_database, tmp_path, monkeypatch):
    database = new_database("qdrant")
    index, pipeline = fill(tmp_path / "index", 300), database.pipeline(database.indexing)
    parts = IndexPlace.parts

    def breaking(self, after, size):
        yield next(parts(self, after, 200))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(IndexPlace, "parts", breaking)
        with pytest.raises(KeyboardInterrupt):
            copy_documents(index, pipeline)
    with HybridDocumentStore(index) as store:
        store.delete_documents([f"{3:064x}"])
    with pytest.raises(StoreError, match=r"has 300 documents after 299 were copied .* were deleted from the source"):
        copy_documents(index, pipeline)


def test_what_cannot_be_copied_says_why(new_database, tmp_path, rerank):
    database = new_database("qdrant")
    pipeline = database.pipeline(database.indexing)
    with pytest.raises(StoreError, match="holds no documents"):
        copy_documents(tmp_path / "none", pipeline)
    index = fill(tmp_path / "index", 3)
    with pytest.raises(InvalidValueError, match="are the same place"):
        copy_documents(index, index)
    with pytest.raises(PipelineConfigError, match=r"no pipeline 'indexing_qdrnt', only 'indexing_qdrant'"):
        copy_documents(index, "indexing_qdrnt")
    done = rerank("copy", "--from", index, "--to", pipeline, "--json")
    assert json.loads(done.stdout)["copied"] == 3
    assert "3 documents copied from " in rerank("copy", "--from", pipeline, "--to", tmp_path / "x").stdout
