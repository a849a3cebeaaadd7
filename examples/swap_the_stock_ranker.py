"""Put CrossEncoderRanker in the place of Haystack's ranker: only `type` changes, and the order stays the same."""

from haystack import Document, Pipeline

from rerank_plugin.scoring.loading.spec import resolve_model

BEFORE = """
components:
  ranker:
    type: haystack_integrations.components.rankers.sentence_transformers.sentence_transformers_similarity.SentenceTransformersSimilarityRanker
    init_parameters:
      model: {model}
      top_k: 3
"""
STOCK = "haystack_integrations.components.rankers.sentence_transformers.sentence_transformers_similarity.SentenceTransformersSimilarityRanker"
OURS = "rerank_plugin.components.ranker.CrossEncoderRanker"

PASSAGES = [
    "Berlin is known for its museums and its parks; people live well there.",
    "Berlin has 3.7 million inhabitants.",
    "Paris is the capital of France.",
    "Hamburg has 1.9 million inhabitants.",
]


def main() -> None:
    # Any cross-encoder will do; here the bundled one, so that nothing has to be downloaded.
    before = BEFORE.format(model=resolve_model("me5-l12-enru"))
    after = before.replace(STOCK, OURS)

    query = "how many people live in Berlin"
    for name, text in (("before", before), ("after", after)):
        pipeline = Pipeline.loads(text, allowed_modules=["haystack_integrations", "rerank_plugin"])
        documents = [Document(content=passage) for passage in PASSAGES]
        ranked = pipeline.run({"ranker": {"query": query, "documents": documents}})["ranker"]["documents"]
        print(name)
        for document in ranked:
            print(f"  {document.content}")


if __name__ == "__main__":
    main()
