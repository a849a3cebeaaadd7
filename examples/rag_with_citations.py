"""
Answer a question from your documents, with citations.

The language model is any server that speaks OpenAI's chat protocol. Before you start, set OPENAI_API_KEY, and for a
server other than OpenAI's also OPENAI_BASE_URL (vLLM, Ollama, llama.cpp, ...).
"""

import re
from pathlib import Path

from rerank_plugin import load_pipeline
from rerank_plugin.indexing import index_paths

SAMPLE_CORPUS = Path(__file__).parent.parent / "sample_corpus"


def main() -> None:
    index = Path("sample_index")
    index_paths([SAMPLE_CORPUS], index, pipeline="indexing_keyword")

    # BM25 fetches 100 passages, the cross-encoder keeps the best 5, and the prompt numbers them [1] to [5].
    pipeline = load_pipeline("rag_rerank", index=index)
    query = "Why is my coffee machine slow and noisy?"
    inputs = {name: {"query": query} for name in ("bm25_retriever", "ranker", "prompt_builder")}
    result = pipeline.run(inputs, include_outputs_from={"collapser"})

    answer, passages = result["llm"]["replies"][0].text, result["collapser"]["documents"]
    print(answer)
    for number in sorted({int(number) for number in re.findall(r"\[(\d+)\]", answer)}):
        if 1 <= number <= len(passages):
            print(f"[{number}] {passages[number - 1].meta['title']}")
        else:
            print(f"[{number}] is not one of the passages: the model made it up")


if __name__ == "__main__":
    main()
