"""Hits as a text for a language model: numbered passages with their places, within a number of characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from haystack import Document
from haystack.components.agents import State

from rerank_plugin.agents.shortening import shortened
from rerank_plugin.results import Hit

# The key of an agent's state under which cited documents are collected, if it is there: [n] is the document n - 1 of it.
DOCUMENTS = "documents"
# A passage of which less would be left is not worth its heading.
LEAST_CHARACTERS = 200
NOTHING_FOUND = "Nothing was found. Other words, or fewer filters, may help."


# The numbers that a run of an agent has used so far, by the id of the document. All tools of a run share its state.
_numbers: WeakKeyDictionary[State, dict[str, int]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Cited:
    """
    Passages for a language model.

    :param text: The text.
    :param documents: The documents in it, in its order.
    """

    text: str
    documents: Sequence[Document]


def cite(hits: Sequence[Hit], numbers: Sequence[int], *, max_characters: int) -> Cited:
    """
    Write hits as numbered passages.

    The best hits come first. What has no room is cut at its end or left out; the text says so, and how to get at it.

    :param hits: The hits, best first.
    :param numbers: The citation number of each.
    :param max_characters: About how long the text may be: headings of passages and remarks may make it a little longer.
    :returns: The text, and which documents are in it.
    """
    blocks: list[str] = []
    shown: list[Document] = []
    room = max_characters
    for hit, number in zip(hits, numbers, strict=True):
        heading = f"[{number}] {place(hit)}\nid: {hit.document.id}"
        content = (hit.document.content or "").strip()
        room -= len(heading)
        if blocks and room < min(len(content), LEAST_CHARACTERS):
            break
        body = shortened(content, max(room, LEAST_CHARACTERS))
        if body != content:
            body += f" (cut; {len(content)} characters in all: fetch the id)"
        room -= len(body)
        blocks.append(f"{heading}\n{body}")
        shown.append(hit.document)
    if not blocks:
        return Cited(NOTHING_FOUND, [])
    left_out = len(hits) - len(shown)
    if left_out:
        blocks.append(f"({left_out} further hits have no room here: ask a narrower question, or set filters.)")
    return Cited("\n\n".join(blocks), shown)


def place(hit: Hit) -> str:
    """Return the title of a hit and where it stands: file, page and section, as far as they are known."""
    parts = [hit.title]
    if hit.source is not None and hit.source != hit.title:
        parts.append(hit.source)
    if hit.page is not None:
        parts.append(f"page {hit.page}")
    if hit.section is not None and hit.section != hit.title:
        parts.append(hit.section)
    return ", ".join(parts)


def numbers_of(state: State | None) -> dict[str, int]:
    """
    Return the citation numbers that a run of an agent has used so far, by the id of the document.

    :param state: The state of the run; `None`: outside of an agent, where each call begins with 1.
    :returns: The numbers; the caller adds those that it uses.
    """
    if state is None:
        return {}
    if state not in _numbers:  # also of a run that is resumed: its state is made anew
        documents = state.get(DOCUMENTS) if has_documents(state) else None
        _numbers[state] = {document.id: number for number, document in enumerate(documents or [], start=1)}
    return _numbers[state]


def keep(state: State | None, numbers: dict[str, int], documents: Sequence[Document]) -> None:
    """
    Keep the numbers of documents that were cited, and the new documents in the state of the agent if that has `documents`.

    :param state: The state of the run; `None`: outside of an agent.
    :param numbers: From `numbers_of`.
    :param documents: The documents, in the order of their numbers.
    """
    new = [document for document in documents if document.id not in numbers]
    for document in new:
        numbers[document.id] = len(numbers) + 1
    if state is not None and new and has_documents(state):
        state.set(DOCUMENTS, new)


def has_documents(state: State) -> bool:
    """Return whether an agent's state has a list of documents, under the name `documents`."""
    return bool(state.schema.get(DOCUMENTS, {}).get("type") == list[Document])
