"""
Answers from the documents as an OpenAI-compatible chat model, `rerank_chat`: POST /v1/chat/completions, streaming or not.

Environment: RERANK_INDEX, the folder of the index (default: index); RERANK_CHAT_PIPELINE, a pipeline whose `inputs` have
`query` and whose `outputs` have `replies` and `documents` (default: rag_rerank); OPENAI_API_KEY and OPENAI_BASE_URL, the
server of the language model.
"""

import os
import re
from collections.abc import AsyncGenerator

from hayhooks import BasePipelineWrapper, async_streaming_generator, get_last_user_message

from rerank_plugin.agents.citations import place
from rerank_plugin.pipelines import build_pipeline, read_pipeline
from rerank_plugin.results import Hit


class PipelineWrapper(BasePipelineWrapper):
    """Answers with a pipeline, and names the passages that the answer cites."""

    def setup(self) -> None:
        """Load the pipeline and its models."""
        source = os.environ.get("RERANK_CHAT_PIPELINE", "rag_rerank")
        data = read_pipeline(source, index=os.environ.get("RERANK_INDEX", "index"))
        self.queries = [socket.split(".") for socket in data["inputs"]["query"]]
        self.replies, self.documents = (data["outputs"][name][0].split(".") for name in ("replies", "documents"))
        self.pipeline = build_pipeline(data, name=source)
        self.pipeline.warm_up()

    async def run_chat_completion_async(
        self,
        model: str,  # noqa: ARG002 - the interface of Hayhooks
        messages: list[dict],
        body: dict,  # noqa: ARG002
    ) -> AsyncGenerator:
        """Answer the last question of a chat."""
        question = _text(get_last_user_message(messages))
        return async_streaming_generator(
            pipeline=self.pipeline,
            pipeline_run_args={component: {socket: question} for component, socket in self.queries},
            include_outputs_from={self.replies[0], self.documents[0]},
            on_pipeline_end=self.sources,
        )

    def sources(self, result: dict) -> str:
        """Return what follows the answer: the places of the passages whose numbers it names."""
        replies, documents = (result[component][output] for component, output in (self.replies, self.documents))
        cited = sorted({int(number) for number in re.findall(r"\[(\d+)\]", replies[0].text or "")})
        lines = [f"[{n}] {place(Hit(documents[n - 1], rank=n))}" for n in cited if 1 <= n <= len(documents)]
        return "\n\nSources:\n" + "\n".join(lines) if lines else ""


def _text(content: object) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
