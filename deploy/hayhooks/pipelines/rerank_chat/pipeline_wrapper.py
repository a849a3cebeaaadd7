"""
Answers from the documents as an OpenAI-compatible chat model, `rerank_chat`: POST /v1/chat/completions, streaming or not.

Environment: RERANK_INDEX, the folder of the index (default: index); RERANK_CHAT_PIPELINE (default: rag_rerank);
OPENAI_API_KEY and OPENAI_BASE_URL, the server of the language model.
"""

import os
import re
from collections.abc import AsyncGenerator

from hayhooks import BasePipelineWrapper, async_streaming_generator, get_last_user_message

from rerank_plugin import load_pipeline
from rerank_plugin.agents.citations import place
from rerank_plugin.results import Hit

LLM, PASSAGES = "llm", "collapser"


class PipelineWrapper(BasePipelineWrapper):
    """Answers with the pipeline rag_rerank, and names the passages that the answer cites."""

    def setup(self) -> None:
        """Load the pipeline and its models."""
        source = os.environ.get("RERANK_CHAT_PIPELINE", "rag_rerank")
        self.pipeline = load_pipeline(source, index=os.environ.get("RERANK_INDEX", "index"))
        self.pipeline.warm_up()

    async def run_chat_completion_async(self, model: str, messages: list[dict], body: dict) -> AsyncGenerator:
        """Answer the last question of a chat."""
        question = _text(get_last_user_message(messages))
        inputs = {name: {"query": question} for name in ("bm25_retriever", "ranker", "prompt_builder")}
        return async_streaming_generator(
            pipeline=self.pipeline,
            pipeline_run_args=inputs,
            include_outputs_from={PASSAGES, LLM},
            on_pipeline_end=_sources,
        )


def _sources(result: dict) -> str:
    """Return what follows the answer: the places of the passages whose numbers it names."""
    answer = result[LLM]["replies"][0].text or ""
    cited = sorted({int(number) for number in re.findall(r"\[(\d+)\]", answer)})
    documents = result[PASSAGES]["documents"]
    lines = [f"[{n}] {place(Hit(documents[n - 1], rank=n))}" for n in cited if 1 <= n <= len(documents)]
    return "\n\nSources:\n" + "\n".join(lines) if lines else ""


def _text(content: object) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
