"""Approximate vector indexes: high recall with exact scores, also after every kind of change."""

import json

import numpy as np
import pytest
from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.vectors import VectorIndex

KINDS = ["hnsw", "hnsw_sq8", "ivf", "ivf_sq8"]
DIM = 24


def clustered(count, seed):
    """Clustered vectors, like embeddings, so that each vector has a few near neighbours."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(60, DIM))
    return centres[chance.integers(0, 60, count)] + 0.4 * chance.normal(size=(count, DIM))


def documents(vectors, first=0):
    return [Document(id=f"{first + i:06}", embedding=v.tolist(), meta={"n": first + i}) for i, v in enumerate(vectors)]


def found(store, query, **options):
    return [(document.id, document.score) for document in store.embedding_retrieval(query.tolist(), **options)]


def agreement(store, truth, queries, **options):
    """Return the recall against exact search; the scores of all common hits must be exact."""
    shares = []
    for query in queries:
        exact, ours = dict(found(truth, query, **options)), dict(found(store, query, **options))
        assert len(ours) == len(exact)
        common = exact.keys() & ours.keys()
        assert [ours[id_] for id_ in common] == pytest.approx([exact[id_] for id_ in common], abs=1e-5)
        shares.append(len(common) / len(exact))
    return float(np.mean(shares))


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["cosine", "dot_product", "l2"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_builds_searches_changes_and_reopens(tmp_path, kind, similarity):
    vectors, queries = clustered(4000, 1), clustered(20, 2)
    store = HybridDocumentStore(tmp_path, vector_index=kind, similarity=similarity)
    truth = HybridDocumentStore(vector_index="flat", similarity=similarity)
    for each in (store, truth):
        each.write_documents(documents(vectors))
    assert agreement(store, truth, queries, top_k=20) >= 0.9

    deleted = [f"{i:06}" for i in range(0, 4000, 9)]
    moved = documents(clustered(300, 3), first=1000)
    for each in (store, truth):
        each.delete_documents(deleted)
        each.write_documents(moved, DuplicatePolicy.OVERWRITE)
    assert agreement(store, truth, queries, top_k=20) >= 0.9

    for each in (store, truth):
        each.write_documents(documents(clustered(2500, 4), first=4000))  # enough to extend the trained index
    store.close()
    assert json.loads((tmp_path / "vectors" / kind / "state.json").read_text())["kind"] == kind
    reopened = HybridDocumentStore(tmp_path, vector_index=kind)
    assert agreement(reopened, truth, queries, top_k=20) >= 0.9
    assert agreement(reopened, truth, queries, top_k=200) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1, 20])
def test_filters_are_exact_and_never_leave_too_few(tmp_path, kind, share, monkeypatch):
    if share == 1:  # as if too many vectors were allowed to compare them all
        monkeypatch.setattr("rerank_plugin.store.vectors.index._MAX_EXACT_ROWS", 100)
    vectors, queries = clustered(4000, 5), clustered(10, 6)
    store, truth = HybridDocumentStore(tmp_path, vector_index=kind), HybridDocumentStore(vector_index="flat")
    for each in (store, truth):
        each.write_documents(documents(vectors))
    store.warm_up()
    allowed = {"field": "meta.n", "operator": "in", "value": list(range(0, 4000, 20 * share))}
    # `agreement` checks the number of hits; with few allowed vectors the search is exact.
    assert agreement(store, truth, queries, top_k=10, filters=allowed) >= (0.85 if share == 1 else 1.0)


def test_a_trained_index_waits_until_there_is_enough_to_train_on(tmp_path):
    store = HybridDocumentStore(tmp_path, vector_index="ivf")
    store.write_documents(documents(clustered(300, 7)))
    assert len(found(store, clustered(1, 8)[0], top_k=300)) == 300
    store.close()
    assert not (tmp_path / "vectors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncate", "delete", "garbage", "state"])
def test_a_damaged_index_is_built_again(tmp_path, damage):
    vectors, query = clustered(3000, 9), clustered(1, 10)[0]
    store = HybridDocumentStore(tmp_path, vector_index="ivf_sq8")
    store.write_documents(documents(vectors))
    expected = found(store, query, top_k=20)
    store.close()
    folder = tmp_path / "vectors" / "ivf_sq8"
    [file] = folder.glob("*/*.faiss")
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:5000])
    elif damage == "delete":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"nothing of the kind" * 100)
    else:
        (folder / "state.json").write_text("{")
    again = HybridDocumentStore(tmp_path, vector_index="ivf_sq8")
    assert found(again, query, top_k=20) == expected
    again.close()
    assert len(list(folder.glob("*/*.faiss"))) == 1


@pytest.mark.slow
def test_auto_changes_to_a_trained_index_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr("rerank_plugin.store.vectors.kinds.EXACT_UP_TO", 2500)
    vectors, query = clustered(3000, 11), clustered(1, 12)[0]
    store = HybridDocumentStore(tmp_path)
    store.write_documents(documents(vectors))
    assert store.describe_vectors()["reason"].startswith("ivf_sq8 will be built when the store is closed (auto: 3,000")
    assert store.describe_vectors()["kind"] == "flat", "a query does not wait for it"
    store.close()
    assert json.loads((tmp_path / "vectors" / "auto" / "state.json").read_text())["kind"] == "ivf_sq8"
    assert store.describe_vectors()["trained"] == 3000
    store.delete_documents([f"{i:06}" for i in range(1000)])
    truth = HybridDocumentStore(vector_index="flat")
    truth.write_documents(documents(vectors[1000:], first=1000))
    assert agreement(store, truth, [query], top_k=50) == 1.0


@pytest.mark.slow
def test_auto_does_not_compare_very_many_vectors_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr("rerank_plugin.store.vectors.kinds.EXACT_UP_TO", 1200)
    store = HybridDocumentStore(tmp_path)
    store.write_documents(documents(clustered(1500, 11)))
    assert store.describe_vectors()["trained"] == 0
    store.write_documents(documents(clustered(1000, 12), first=1500))
    assert store.describe_vectors()["trained"] == 2500, "twice as many as are searched fast: now a query waits"
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["cosine", "dot_product", "l2"])
def test_a_large_flat_index_is_opened_from_its_file(tmp_path, monkeypatch, similarity):
    monkeypatch.setattr("rerank_plugin.store.vectors.kinds.FLAT_FILE_FROM", 1000)
    vectors, queries = clustered(1500, 21), clustered(5, 22)
    store = HybridDocumentStore(tmp_path, similarity=similarity)
    truth = HybridDocumentStore(similarity=similarity)
    for each in (store, truth):
        each.write_documents(documents(vectors))
    store.warm_up()
    assert not (tmp_path / "vectors").exists(), "nobody waits for it"
    store.close()
    (file,) = (tmp_path / "vectors" / "auto").glob("*/*.faiss")
    later = clustered(30, 23)
    for each in (store, truth):  # too few additions and deletions to write the file again
        each.write_documents(documents(later, first=1500))
        each.delete_documents([f"{i:06}" for i in range(5)])
        each.write_documents(documents(later[:3] * 2, first=10), policy=DuplicatePolicy.OVERWRITE)
    store.close()
    assert file.exists()
    store = HybridDocumentStore(tmp_path, similarity=similarity)
    assert store.describe_vectors() == {
        "kind": "flat",
        "reason": truth.describe_vectors()["reason"],
        "vectors": 1525,
        "trained": 0,
    }
    for top_k, filters in ((10, None), (2000, None), (10, {"field": "meta.n", "operator": "<", "value": 300})):
        for query in queries:
            expected = found(truth, query, top_k=top_k, filters=filters)
            ours = found(store, query, top_k=top_k, filters=filters)
            assert [key for key, _ in ours] == [key for key, _ in expected]
            assert dict(ours) == pytest.approx(dict(expected), abs=1e-5)
    for each in (store, truth):
        each.write_documents(documents(clustered(2100, 24), first=5000))
    store.close()
    assert not file.exists(), "now it was time"
    reopened = HybridDocumentStore(tmp_path, similarity=similarity)
    assert [key for key, _ in found(reopened, queries[0], top_k=50)] == [
        key for key, _ in found(truth, queries[0], top_k=50)
    ]
    assert reopened.recall(top_k=20) == 1.0
    reopened.close()


@pytest.mark.slow
def test_a_trained_index_that_cannot_be_saved_stays_in_memory(tmp_path, caplog):
    vectors, query = clustered(2500, 13), clustered(1, 14)[0]
    store = HybridDocumentStore(tmp_path, vector_index="ivf")
    store.write_documents(documents(vectors))
    (tmp_path / "vectors").write_text("in the way")
    truth = HybridDocumentStore(vector_index="flat")
    truth.write_documents(documents(vectors))
    assert agreement(store, truth, [query], top_k=10) >= 0.9
    assert "stays in memory, as it cannot be saved" in caplog.text
    store.close()


def test_two_kinds_on_one_folder_find_the_same(tmp_path):
    vectors, query = clustered(2500, 13), clustered(1, 14)[0]
    HybridDocumentStore(tmp_path).write_documents(documents(vectors))
    exact = found(HybridDocumentStore(tmp_path, vector_index="flat"), query, top_k=10)
    trained = found(HybridDocumentStore(tmp_path, vector_index="hnsw"), query, top_k=10)
    assert [id_ for id_, _ in trained] == [id_ for id_, _ in exact]
    assert dict(trained) == pytest.approx(dict(exact), abs=1e-6)


@pytest.mark.slow
def test_recall_is_measured_against_the_exact_scan(tmp_path, monkeypatch):
    monkeypatch.setattr("rerank_plugin.store.vectors.trained.TARGET_RECALL", 0.2)  # reached with the first few cells
    vectors = np.random.default_rng(15).normal(size=(4000, DIM))
    store = HybridDocumentStore(tmp_path, vector_index="ivf")
    assert store.recall() is None
    store.write_documents(documents(vectors))
    described = store.describe_vectors()
    assert (described["kind"], described["vectors"], described["trained"]) == ("ivf", 4000, 4000)
    recall = store.recall(top_k=10, queries=50)
    truth = HybridDocumentStore(vector_index="flat")
    truth.write_documents(documents(vectors))
    assert truth.recall(top_k=10) == 1.0
    assert truth.describe_vectors()["reason"] == "as requested: exact"
    assert 0.2 <= recall < 0.95
    assert recall == pytest.approx(agreement(store, truth, vectors[::80], top_k=10), abs=0.1)


@pytest.mark.slow
def test_an_index_is_not_extended_by_what_it_holds_where_others_compacted_meanwhile(tmp_path):
    store = HybridDocumentStore(tmp_path)
    store.write_documents(documents(clustered(2_100, 1)))
    store.close()
    database, others = Database(tmp_path / "documents.sqlite"), Database(tmp_path / "documents.sqlite")

    class Interrupted(VectorIndex):
        """Others delete documents and compact between the replay and the moment at which the index is extended."""

        def _can_be_extended(self, present):
            with others.transaction():
                others.documents.delete(range(1, 301))
                others.changes.forget_deleted()
            return super()._can_be_extended(present)

    index = Interrupted("cosine", "ivf", tmp_path / "vectors" / "ivf")
    index.sync(database)
    store.write_documents(documents(clustered(2_100, 2), first=3_000))
    index.complete(database)
    assert index.describe()["vectors"] == database.vectors.count() == 3_900
    reopened = VectorIndex("cosine", "ivf", tmp_path / "vectors" / "ivf")
    reopened.sync(database)
    assert reopened.describe() == index.describe()
    for each in (store, database, others):
        each.close()
