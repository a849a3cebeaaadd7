"""What is ranked: passages of chosen lengths made of real text, and a collection's own candidates."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from haystack import Document

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store import HybridDocumentStore

MIXED = (20, 512)
WORDS_A_TOKEN = 0.72  # of English text in WordPiece, on the collections of the development


@dataclass(frozen=True)
class Case:
    """
    A kind of call.

    :param tokens: Tokens of a passage, about; two numbers: evenly spread between them.
    :param candidates: Passages of a query.
    """

    tokens: tuple[int, int]
    candidates: int

    @property
    def name(self) -> str:
        """How it is shown."""
        low, high = self.tokens
        return f"{self.candidates} x {low}" if low == high else f"{self.candidates} x {low}-{high}"


def parse_case(text: str) -> Case:
    """
    Read a case from the command line.

    :param text: `CANDIDATESxTOKENS` or `CANDIDATESxFROM-TO`, such as `100x90` or `100x20-512`.
    :raises InvalidValueError: If it is neither.
    """
    candidates, found, tokens = text.partition("x")
    low, _, high = tokens.partition("-")
    if not found or not candidates.isdecimal() or not low.isdecimal() or (high and not high.isdecimal()):
        raise InvalidValueError(f"{text!r} is no case: write CANDIDATESxTOKENS, such as 100x90 or 100x20-512")
    case = Case((int(low), int(high or low)), int(candidates))
    if min(case.candidates, *case.tokens) < 1:
        raise InvalidValueError(f"{text!r} is no case: both numbers must be at least 1")
    return case


def draw_call(case: Case, queries: Sequence[str], words: Sequence[str], draw: random.Random) -> tuple[str, list[Document]]:
    """
    Draw a query and passages: stretches of the collection's text of the lengths of the case.

    :param case: Which lengths and how many.
    :param queries: The collection's queries.
    :param words: The collection's text, word by word.
    :param draw: Draws.
    :returns: Query and documents.
    """
    documents = []
    for position in range(case.candidates):
        length = max(1, round(draw.randint(*case.tokens) * WORDS_A_TOKEN))
        start = draw.randrange(max(1, len(words) - length))
        documents.append(Document(id=str(position), content=" ".join(words[start : start + length])))
    return draw.choice(queries), documents


def judged_calls(
    dataset: BeirDataset, queries: Mapping[str, str], *, candidates: int
) -> dict[str, tuple[str, list[Document]]]:
    """
    Let BM25 choose the candidates of judged queries.

    :param dataset: The collection.
    :param queries: Texts by id.
    :param candidates: Candidates of a query.
    :returns: Query and documents, by id of the query; the documents' ids are the collection's.
    """
    store = HybridDocumentStore()
    batch: list[Document] = []
    for document in dataset.documents():
        batch.append(
            Document(id=document.id, content=f"{document.title}\n{document.text}" if document.title else document.text)
        )
        if len(batch) == 5000:
            store.write_documents(batch)
            batch = []
    store.write_documents(batch)
    calls = {id_: (text, store.bm25_retrieval(text, top_k=candidates)) for id_, text in queries.items()}
    store.close()
    return {id_: call for id_, call in calls.items() if call[1]}
