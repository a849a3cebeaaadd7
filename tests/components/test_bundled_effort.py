"""`effort` with the bundled models: their early-exit networks, and the rules in their calibrations."""

import pytest
from haystack import Document

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.collections.sample import sample_corpus
from rerank_plugin.store import HybridDocumentStore

# English, since one of the models reads nothing else.
QUERIES = (
    "coffee too bitter fix",
    "coffee maker slow and loud from chalk",
    "can I put coffee beans in the fridge",
)
COUNT = 80


@pytest.fixture(scope="module")
def candidates():
    """The hits of BM25, then other documents, as the sample corpus is small."""
    documents = [
        Document(id=document.id, content=document.text, meta={"title": document.title})
        for document in BeirDataset(sample_corpus()).documents()
        if document.id.startswith("en-")
    ]
    with HybridDocumentStore() as store:
        store.write_documents(documents)
        hits = {query: store.bm25_retrieval(query, top_k=COUNT) for query in QUERIES}
    return {
        query: (found + [document for document in documents if document not in found])[:COUNT]
        for query, found in hits.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("model", ["me5-l12-enru", "minilm-l6-en"])
def test_less_work_keeps_the_best_hit(model, candidates):
    exact = CrossEncoderRanker(model=model, top_k=3)
    balanced = CrossEncoderRanker(model=model, top_k=3, effort="balanced")
    scored = 0
    for query, documents in candidates.items():
        answer = balanced.run(query=query, documents=documents)
        assert answer["documents"][0].id == exact.run(query=query, documents=documents)["documents"][0].id
        assert answer["status"]["stopped_by"] == "early_exit"
        scored += answer["status"]["scored"]
    assert scored < COUNT * len(QUERIES)
