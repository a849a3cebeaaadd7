"""Numbered documents about foxes, for tests of indexes on disk."""

from haystack import Document


def make_documents(first, count):
    return [
        Document(id=f"{i:05}", content=f"fox number {i}", meta={"n": i}, embedding=[1.0, i / 7, 0.5])
        for i in range(first, first + count)
    ]


def ids(documents):
    return sorted(document.id for document in documents)


def check_whole(store, expected):
    """Assert that the store and both derived indexes contain exactly these documents."""
    assert ids(store.filter_documents()) == expected
    assert ids(store.bm25_retrieval("fox", top_k=10_000)) == expected
    assert ids(store.embedding_retrieval([1.0, 0.0, 0.0], top_k=10_000)) == expected
    if expected:
        number = str(int(expected[-1]))
        assert store.bm25_retrieval(number, top_k=1)[0].id == expected[-1]
