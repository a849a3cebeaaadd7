"""Rerank what another document store finds: the ranker takes documents from anywhere."""

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from rerank_plugin import CrossEncoderRanker

PASSAGES = [
    "Berlin is known for its museums and its parks; people live well there.",
    "Berlin has 3.7 million inhabitants.",
    "Paris is the capital of France.",
]


def main() -> None:
    store = InMemoryDocumentStore()
    store.write_documents([Document(content=passage) for passage in PASSAGES])

    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=100))
    pipeline.add_component("ranker", CrossEncoderRanker(top_k=1))
    pipeline.connect("retriever.documents", "ranker.documents")

    query = "how many people live in Berlin"
    result = pipeline.run({"retriever": {"query": query}, "ranker": {"query": query}})
    best = result["ranker"]["documents"][0]
    print(f"{best.content} (rank {best.meta['first_stage_rank']} before)")


if __name__ == "__main__":
    main()
