"""Questions that a language model writes about passages: several passages a call, kept in a file, the calls limited."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.errors import ServerError, reason_of
from rerank_plugin.evaluation.run_key import run_key
from rerank_plugin.progress import CountCallback
from rerank_plugin.training.adapting.pseudo_queries import WRITTEN, PseudoQuery
from rerank_plugin.training.adapting.request import LanguageModel

if TYPE_CHECKING:
    from haystack import Document

PASSAGES_PER_CALL = 5
QUESTIONS_PER_PASSAGE = 2
CHARACTERS = 1_200
WITHOUT_KEY = "none"  # what servers that need no key are sent
PROMPT = (
    "You see {count} passages. For each of them write {questions} short questions that somebody might type into a search "
    "box without having seen the passage, and that the passage answers. Use other words than the passage where you can, "
    "and the language of the passage. Answer with one JSON object only, such as "
    '{{"1": ["...", "..."], "2": ["...", "..."]}}.\n\n{passages}'
)
OBJECT = re.compile(r"\{.*\}", re.DOTALL)


def written_queries(
    passages: "Sequence[Document]", server: LanguageModel, file: Path, *, on_progress: CountCallback
) -> Iterator[PseudoQuery]:
    """
    Yield the questions that a language model writes about passages.

    :param passages: The passages, the most important first: the number of calls is limited.
    :param server: The language model.
    :param file: Keeps the answers, so that no passage is paid for twice.
    :param on_progress: Called with calls done and total calls.
    :raises ServerError: If the server does not answer, or not with questions.
    """
    groups = [passages[start : start + PASSAGES_PER_CALL] for start in range(0, len(passages), PASSAGES_PER_CALL)]
    groups = groups[: server.calls]
    known = {record["key"]: record["questions"] for _, record in read_jsonl(file)} if file.exists() else {}
    generator: Any = None
    for number, group in enumerate(groups, start=1):
        key = _key(group, server)
        if key not in known:
            generator = generator or _generator(server)
            known[key] = _ask(generator, group, server)
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"key": key, "questions": known[key]}, ensure_ascii=False) + "\n")
        on_progress(number, len(groups))
        for passage, questions in zip(group, known[key], strict=True):
            for question in questions:
                yield PseudoQuery(question, WRITTEN, passage.id)


def _key(group: "Sequence[Document]", server: LanguageModel) -> str:
    texts = [passage.content for passage in group]
    return run_key(settings={"prompt": PROMPT, "model": server.model, "texts": texts}, query=None, models=None, corpus=None)


def _generator(server: LanguageModel) -> Any:
    import os

    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.utils import Secret

    has_key = bool(os.environ.get(server.key_variable))
    key = Secret.from_env_var(server.key_variable) if has_key else Secret.from_token(WITHOUT_KEY)
    return OpenAIChatGenerator(api_key=key, model=server.model, api_base_url=server.url)


def _ask(generator: Any, group: "Sequence[Document]", server: LanguageModel) -> list[list[str]]:
    """Return the questions about each passage; none about one that the answer leaves out."""
    from haystack.dataclasses import ChatMessage

    listed = "\n\n".join(f"[{number}]\n{(p.content or '')[:CHARACTERS]}" for number, p in enumerate(group, start=1))
    prompt = PROMPT.format(count=len(group), questions=QUESTIONS_PER_PASSAGE, passages=listed)
    try:
        reply = generator.run(messages=[ChatMessage.from_user(prompt)])["replies"][0].text or ""
    except Exception as error:  # the client of the server raises its own errors, and those of the network
        raise ServerError(
            f"the language model {server.model} at {server.url} does not answer ({reason_of(error)}): check its address "
            "and key, or adapt without it"
        ) from error
    match = OBJECT.search(reply)
    try:
        answer: Any = json.loads(match[0] if match else "")
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServerError(
            f"the language model {server.model} at {server.url} answers without the JSON object that it was asked for, but "
            f"{reply[:80]!r}: choose a model that follows instructions, or adapt without it"
        )
    return [_questions(answer.get(str(number))) for number in range(1, len(group) + 1)]


def _questions(value: Any) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()][:QUESTIONS_PER_PASSAGE]
